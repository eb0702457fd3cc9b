//! Consents.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};

use super::row::{Row, collect, connection_name, first, get_optional_seconds, get_seconds, get_word, query};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    Consent, ConsentCondition, ConsentFilter, ConsentId, ConsentPurpose, ConsentResource, ConsentType, UserId,
};
use crate::store::Consents;

/// Selects consents with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, consent_type, resource_type, resource_id, purpose, policy_version, description, \
             granted_at, revoked_at FROM consents ",
            $rest
        )
    };
}

#[async_trait]
impl Consents for SqliteStore {
    async fn grant(&self, consent: &Consent) -> Result<(), StoreError> {
        let consent = consent.clone();
        self.write(move |transaction| insert(transaction, &consent)).await
    }

    async fn revoke(&self, filter: &ConsentFilter, now: Timestamp) -> Result<Vec<Consent>, StoreError> {
        let filter = filter.clone();
        self.write(move |transaction| {
            let mut revoked = list(transaction, &filter, u32::MAX)?;
            revoked.retain(|consent| consent.revoked_at.is_none());
            for consent in &mut revoked {
                revoke(transaction, &consent.id, now)?;
                consent.revoked_at = Some(now);
            }
            Ok(revoked)
        })
        .await
    }

    async fn find(&self, id: &ConsentId) -> Result<Option<Consent>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE id = ?1"))?;
            first(query(&mut statement, [id.as_str()])?, from_row)
        })
        .await
    }

    async fn revoke_one(&self, id: &ConsentId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |transaction| revoke(transaction, &id, now)).await
    }

    async fn list(&self, filter: &ConsentFilter, limit: u32) -> Result<Vec<Consent>, StoreError> {
        let filter = filter.clone();
        self.read(move |sqlite| list(sqlite, &filter, limit)).await
    }
}

fn insert(transaction: &Transaction<'_>, consent: &Consent) -> Result<(), StoreError> {
    let sql = "INSERT INTO consents (id, user_id, consent_type, resource_type, resource_id, purpose, policy_version, \
               description, granted_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    transaction.prepare_cached(sql)?.execute(params![
        consent.id.as_str(),
        consent.user.as_str(),
        consent.kind.as_str(),
        consent.resource.as_ref().map(ConsentResource::kind),
        consent.resource.as_ref().map(ConsentResource::id),
        consent.purpose.as_str(),
        consent.policy_version,
        consent.description,
        consent.granted_at.as_second(),
        consent.revoked_at.map(Timestamp::as_second),
    ])?;
    Ok(())
}

fn revoke(transaction: &Transaction<'_>, id: &ConsentId, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE consents SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
    Ok(transaction.prepare_cached(sql)?.execute((id.as_str(), now.as_second()))? == 1)
}

/// Checks that the user of a connection allows a purpose as of this transaction.
///
/// # Errors
/// [`StoreError::Consent`].
pub(super) fn check(transaction: &Transaction<'_>, condition: &ConsentCondition) -> Result<(), StoreError> {
    let sql = "SELECT connector, account, user_id FROM connections WHERE id = ?1 AND user_id IS NOT NULL";
    let owned = first(query(&mut *transaction.prepare_cached(sql)?, [condition.connection.0])?, |row| {
        let user: UserId = row.get::<String>("user_id")?.parse().map_err(|_| MalformedValue::Name)?;
        Ok((connection_name(row)?, user))
    })?;
    let Some((name, user)) = owned else { return Ok(()) };
    let (of_user, purpose) = (Some(user.clone()), Some(condition.purpose.clone()));
    let filter = ConsentFilter { user: of_user, purpose, ..ConsentFilter::default() };
    let consents = list(transaction, &filter, u32::MAX)?;
    condition.check(&name, &user, &consents).map(drop).map_err(|error| StoreError::Consent(Box::new(error)))
}

fn list(sqlite: &Connection, filter: &ConsentFilter, limit: u32) -> Result<Vec<Consent>, StoreError> {
    // An index finds no value that may be absent.
    let of_user = if filter.user.is_some() { "user_id = ?1" } else { "?1 IS NULL" };
    let sql = format!(
        select!(
            "WHERE {} AND (?2 IS NULL OR consent_type = ?2) AND (?3 IS NULL OR resource_type = ?3) \
             AND (?4 IS NULL OR resource_id = ?4) AND (?5 IS NULL OR purpose = ?5) AND (?6 IS NULL OR policy_version = ?6) \
             ORDER BY granted_at DESC, rowid DESC LIMIT ?7"
        ),
        of_user
    );
    let values = params![
        filter.user.as_ref().map(UserId::as_str),
        filter.kind.map(ConsentType::as_str),
        filter.resource.as_ref().map(ConsentResource::kind),
        filter.resource.as_ref().map(ConsentResource::id),
        filter.purpose.as_ref().map(ConsentPurpose::as_str),
        filter.policy_version,
        limit,
    ];
    collect(query(&mut *sqlite.prepare_cached(&sql)?, values)?, from_row)
}

fn from_row(row: &Row<'_>) -> Result<Consent, StoreError> {
    let text = |column: &str| row.get::<String>(column);
    let resource = match row.get::<Option<String>>("resource_type")? {
        Some(kind) => Some(ConsentResource::new(&kind, &text("resource_id")?).map_err(|_| MalformedValue::Name)?),
        None => None,
    };
    Ok(Consent {
        id: text("id")?.parse().map_err(|_| MalformedValue::Name)?,
        user: text("user_id")?.parse().map_err(|_| MalformedValue::Name)?,
        kind: get_word(row, "consent_type")?,
        resource,
        purpose: text("purpose")?.parse().map_err(|_| MalformedValue::Name)?,
        policy_version: row.get("policy_version")?,
        description: row.get("description")?,
        granted_at: get_seconds(row, "granted_at")?,
        revoked_at: get_optional_seconds(row, "revoked_at")?,
    })
}
