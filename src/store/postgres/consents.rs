//! Consents.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{connection_name, get, get_seconds, get_word, number, optional_seconds, user};
use super::transaction::{Subject, Transaction};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    Consent, ConsentCondition, ConsentFilter, ConsentId, ConsentPurpose, ConsentResource, ConsentType, UserId,
};
use crate::store::{Consents, MalformedValue, StoreError};

/// Selects consents with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, consent_type, resource_type, resource_id, purpose, policy_version, description,
             granted_at, revoked_at FROM integ.consents WHERE workspace_id = $1 ",
            $rest
        )
    };
}

/// The condition of a filter, with six values from `$2` on.
macro_rules! filter {
    () => {
        "($2 IS NULL OR user_id = $2) AND ($3 IS NULL OR consent_type = $3) AND ($4 IS NULL OR resource_type = $4)
         AND ($5 IS NULL OR resource_id = $5) AND ($6 IS NULL OR purpose = $6) AND ($7 IS NULL OR policy_version = $7) "
    };
}

/// Lists the consents of a filter, up to a number.
const LIST: &str = concat!(
    "SELECT id, user_id, consent_type, resource_type, resource_id, purpose, policy_version, description,
     granted_at, revoked_at FROM integ.consents WHERE workspace_id = $1 AND ",
    filter!(),
    "ORDER BY granted_at DESC, number DESC LIMIT $8"
);

#[async_trait]
impl Consents for PostgresStore {
    async fn grant(&self, consent: &Consent) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO integ.consents (workspace_id, id, user_id, consent_type, resource_type, resource_id, purpose,
                       policy_version, description, granted_at, revoked_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let values: [Value<'_>; 10] = [
            &consent.id.as_str(),
            &consent.user.as_str(),
            &consent.kind.as_str(),
            &consent.resource.as_ref().map(ConsentResource::kind),
            &consent.resource.as_ref().map(ConsentResource::id),
            &consent.purpose.as_str(),
            &i64::from(consent.policy_version),
            &consent.description.as_deref(),
            &consent.granted_at.as_second(),
            &consent.revoked_at.map(Timestamp::as_second),
        ];
        self.execute(sql, &values).await.map(drop)
    }

    async fn revoke(&self, filter: &ConsentFilter, now: Timestamp) -> Result<Vec<Consent>, StoreError> {
        let transaction = self.begin().await?;
        transaction.lock(Subject::Consents).await?;
        let sql = concat!(
            "WITH revoked AS (UPDATE integ.consents SET revoked_at = $8 WHERE workspace_id = $1 AND revoked_at IS NULL AND ",
            filter!(),
            "RETURNING *) SELECT * FROM revoked ORDER BY granted_at DESC, number DESC"
        );
        let values = FilterValues::new(filter);
        let rows = transaction.query(sql, &values.with(&now.as_second())).await?;
        let revoked = rows.iter().map(from_row).collect::<Result<_, _>>()?;
        transaction.commit().await?;
        Ok(revoked)
    }

    async fn find(&self, id: &ConsentId) -> Result<Option<Consent>, StoreError> {
        let row = self.row(select!("AND id = $2"), &[&id.as_str()]).await?;
        row.as_ref().map(from_row).transpose()
    }

    async fn revoke_one(&self, id: &ConsentId, now: Timestamp) -> Result<bool, StoreError> {
        let sql =
            "UPDATE integ.consents SET revoked_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL";
        let transaction = self.begin().await?;
        transaction.lock(Subject::Consents).await?;
        let revoked = transaction.execute(sql, &[&id.as_str(), &now.as_second()]).await?;
        transaction.commit().await?;
        Ok(revoked == 1)
    }

    async fn list(&self, filter: &ConsentFilter, limit: u32) -> Result<Vec<Consent>, StoreError> {
        let rows = self.rows(LIST, &FilterValues::new(filter).with(&i64::from(limit))).await?;
        rows.iter().map(from_row).collect()
    }
}

/// Checks that the user of a connection allows a purpose, and keeps others from revoking a consent until the transaction
/// has ended.
///
/// # Errors
/// [`StoreError::Consent`].
pub(super) async fn check(transaction: &Transaction, condition: &ConsentCondition) -> Result<(), StoreError> {
    let sql = "SELECT connector, account, user_id FROM integ.connections WHERE workspace_id = $1 AND id = $2";
    let Some(row) = transaction.first(sql, &[&condition.connection.0]).await? else { return Ok(()) };
    let Some(user) = user(&row, "user_id")? else { return Ok(()) };
    // Before they are read: a consent that is granted and revoked meanwhile has no row yet that could be locked.
    transaction.share(Subject::Consents).await?;
    let (of_user, purpose) = (Some(user.clone()), Some(condition.purpose.clone()));
    let filter = ConsentFilter { user: of_user, purpose, ..ConsentFilter::default() };
    let rows = transaction.query(LIST, &FilterValues::new(&filter).with(&i64::MAX)).await?;
    let consents = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let checked = condition.check(&connection_name(&row)?, &user, &consents).map(drop);
    checked.map_err(|error| StoreError::Consent(Box::new(error)))
}

/// The values of a filter's condition.
struct FilterValues<'a> {
    texts: [Option<&'a str>; 4],
    resource_id: Option<String>,
    policy_version: Option<i64>,
}

impl<'a> FilterValues<'a> {
    fn new(filter: &'a ConsentFilter) -> Self {
        let texts = [
            filter.user.as_ref().map(UserId::as_str),
            filter.kind.map(ConsentType::as_str),
            filter.resource.as_ref().map(ConsentResource::kind),
            filter.purpose.as_ref().map(ConsentPurpose::as_str),
        ];
        let resource_id = filter.resource.as_ref().map(ConsentResource::id);
        Self { texts, resource_id, policy_version: filter.policy_version.map(i64::from) }
    }

    /// Returns them with a last one.
    fn with<'v>(&'v self, last: Value<'v>) -> [Value<'v>; 7] {
        let [user, kind, resource_type, purpose] = &self.texts;
        [user, kind, resource_type, &self.resource_id, purpose, &self.policy_version, last]
    }
}

fn from_row(row: &Row) -> Result<Consent, StoreError> {
    let resource = match get::<Option<&str>>(row, "resource_type")? {
        Some(kind) => Some(ConsentResource::new(kind, get(row, "resource_id")?).map_err(|_| MalformedValue::Name)?),
        None => None,
    };
    Ok(Consent {
        id: get::<&str>(row, "id")?.parse().map_err(|_| MalformedValue::Name)?,
        user: get::<&str>(row, "user_id")?.parse().map_err(|_| MalformedValue::Name)?,
        kind: get_word(row, "consent_type")?,
        resource,
        purpose: get::<&str>(row, "purpose")?.parse().map_err(|_| MalformedValue::Name)?,
        policy_version: number(row, "policy_version")?,
        description: get(row, "description")?,
        granted_at: get_seconds(row, "granted_at")?,
        revoked_at: optional_seconds(row, "revoked_at")?,
    })
}
