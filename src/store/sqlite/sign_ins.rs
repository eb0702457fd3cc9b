//! Sign-ins. One UPDATE uses up the state, so the transaction decides between concurrent callbacks.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Params, Transaction, params};
use url::Url;

use super::row::{
    Row, connection_name, first, get_optional_json, get_optional_seconds, get_seconds, query, to_json, user,
};
use super::{MalformedValue, SqliteStore, StoreError, connect_links};
use crate::clock::Timestamp;
use crate::model::sign_in::RESULT_RETENTION;
use crate::model::{ConnectLinkId, NewSignIn, SignIn, SignInId, SignInResult, TakeSignInResult, UserId};
use crate::secret::Secret;
use crate::store::SignIns;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, connector, account, details, poll_interval_secs, user_id, link_id, return_to, created_at, \
             expires_at, taken_at, result FROM sign_ins ",
            $rest
        )
    };
}

#[async_trait]
impl SignIns for SqliteStore {
    async fn begin(&self, new: &NewSignIn) -> Result<(), StoreError> {
        let new = new.clone();
        self.write(move |transaction| {
            prune(transaction, new.created_at)?;
            insert(transaction, &new)
        })
        .await
    }

    async fn find(&self, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| find(sqlite, &id)).await
    }

    async fn find_by_state(&self, state_hash: &[u8; 32]) -> Result<Option<SignIn>, StoreError> {
        let hash = *state_hash;
        self.read(move |sqlite| read(sqlite, select!("WHERE state_hash = ?1"), [hash.as_slice()])).await
    }

    async fn take(&self, id: &SignInId, now: Timestamp) -> Result<TakeSignInResult, StoreError> {
        let id = id.clone();
        self.write(move |transaction| take(transaction, &id, now)).await
    }

    async fn finish(&self, id: &SignInId, result: &SignInResult, now: Timestamp) -> Result<(), StoreError> {
        let (id, result) = (id.clone(), result.clone());
        self.write(move |transaction| finish(transaction, &id, &result, now)).await
    }

    async fn withdraw(&self, connector: &str) -> Result<u64, StoreError> {
        let connector = connector.to_owned();
        self.write(move |transaction| {
            let sql = "DELETE FROM sign_ins WHERE connector = ?1 AND taken_at IS NULL AND result IS NULL";
            Ok(transaction.execute(sql, [&connector])? as u64)
        })
        .await
    }

    async fn claim_poll(&self, id: &SignInId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            let sql = "UPDATE sign_ins SET polled_at = ?2 WHERE id = ?1 AND taken_at IS NULL AND result IS NULL \
                       AND poll_interval_secs IS NOT NULL AND polled_at + poll_interval_secs * 1000 <= ?2";
            Ok(transaction.execute(sql, params![id.as_str(), now.as_millisecond()])? == 1)
        })
        .await
    }

    async fn slow_down(&self, id: &SignInId, seconds: u32) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            let sql = "UPDATE sign_ins SET poll_interval_secs = min(poll_interval_secs + ?2, 300) WHERE id = ?1";
            transaction.execute(sql, params![id.as_str(), seconds])?;
            Ok(())
        })
        .await
    }

    async fn prune(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write(move |transaction| prune(transaction, now)).await
    }
}

fn insert(transaction: &Transaction<'_>, new: &NewSignIn) -> Result<(), StoreError> {
    let sql = "INSERT INTO sign_ins (id, state_hash, connector, account, details, poll_interval_secs, polled_at, \
               user_id, link_id, return_to, created_at, expires_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    transaction.execute(
        sql,
        params![
            new.id.as_str(),
            new.state_hash.as_ref().map(<[u8; 32]>::as_slice),
            new.connection.connector(),
            new.connection.account().unwrap_or_default(),
            new.details.expose(),
            new.poll_interval.map(|interval| interval.as_secs()),
            // The person needs a while to enter the code.
            new.created_at.as_millisecond(),
            new.user.as_ref().map(UserId::as_str),
            new.link.as_ref().map(ConnectLinkId::as_str),
            new.return_to.as_ref().map(Url::as_str),
            new.created_at.as_second(),
            new.expires_at.as_second(),
        ],
    )?;
    Ok(())
}

fn read(sqlite: &Connection, sql: &str, values: impl Params) -> Result<Option<SignIn>, StoreError> {
    let mut statement = sqlite.prepare_cached(sql)?;
    first(query(&mut statement, values)?, from_row)
}

fn find(sqlite: &Connection, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
    read(sqlite, select!("WHERE id = ?1"), [id.as_str()])
}

fn take(transaction: &Transaction<'_>, id: &SignInId, now: Timestamp) -> Result<TakeSignInResult, StoreError> {
    let Some(found) = find(transaction, id)? else { return Ok(TakeSignInResult::Expired) };
    if found.taken_at.is_some() || found.result.is_some() {
        return Ok(TakeSignInResult::Used);
    }
    if found.expires_at <= now {
        return Ok(TakeSignInResult::Expired);
    }
    let is_allowed = match &found.link {
        Some(link) => connect_links::take_use(transaction, link, None)?,
        None => true,
    };
    if !is_allowed {
        return Ok(TakeSignInResult::LinkUsed);
    }
    let sql = "UPDATE sign_ins SET taken_at = ?2, details = NULL WHERE id = ?1 AND taken_at IS NULL";
    transaction.execute(sql, params![id.as_str(), now.as_second()])?;
    Ok(TakeSignInResult::Claimed)
}

fn finish(
    transaction: &Transaction<'_>,
    id: &SignInId,
    result: &SignInResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE sign_ins SET result = ?2, ended_at = ?3, details = NULL WHERE id = ?1 AND result IS NULL";
    let is_stored = transaction.execute(sql, params![id.as_str(), to_json(result)?, now.as_second()])? == 1;
    if is_stored
        && matches!(result, SignInResult::Failed(_))
        && let Some(SignIn { link: Some(link), taken_at: Some(_), .. }) = find(transaction, id)?
    {
        connect_links::return_use(transaction, &link)?;
    }
    Ok(())
}

fn prune(transaction: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let before = now.checked_sub(RESULT_RETENTION).unwrap_or(Timestamp::MIN).as_second();
    let sql = "DELETE FROM sign_ins WHERE coalesce(ended_at, max(expires_at, coalesce(taken_at, 0))) < ?1";
    Ok(transaction.execute(sql, [before])?)
}

fn from_row(row: &Row<'_>) -> Result<SignIn, StoreError> {
    let invalid = MalformedValue::EnumValue;
    let url = |text: String| Url::parse(&text).map_err(|_| invalid(text));
    Ok(SignIn {
        id: row.get::<String>("id")?.parse().map_err(invalid)?,
        connection: connection_name(row)?,
        user: user(row, "user_id")?,
        link: row.get::<Option<String>>("link_id")?.map(|id| id.parse().map_err(invalid)).transpose()?,
        return_to: row.get::<Option<String>>("return_to")?.map(url).transpose()?,
        created_at: get_seconds(row, "created_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        details: row.get::<Option<String>>("details")?.map(Secret::new),
        poll_interval: row.get::<Option<u64>>("poll_interval_secs")?.map(Duration::from_secs),
        taken_at: get_optional_seconds(row, "taken_at")?,
        result: get_optional_json(row, "result")?,
    })
}
