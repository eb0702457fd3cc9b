//! Sign-ins. The row is locked while its state is used up, so that of concurrent callbacks one goes on.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use url::Url;

use super::row::{
    SealedRow, connection_name, get, get_seconds, optional_number, optional_seconds, signed, to_json, user,
};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use super::{PostgresStore, connect_links};
use crate::clock::Timestamp;
use crate::model::sign_in::RESULT_RETENTION;
use crate::model::{ConnectLinkId, NewSignIn, SignIn, SignInId, SignInResult, TakeSignInResult, UserId};
use crate::secret::Secret;
use crate::store::{MalformedValue, SignIns, StoreError};

const DETAILS: Column = column("sign_ins", "details");
const RESULT: Column = column("sign_ins", "result");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, connector, account, details, poll_interval_secs, user_id, link_id, return_to, created_at,
             expires_at, taken_at, result FROM integ.sign_ins WHERE workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl SignIns for PostgresStore {
    async fn begin(&self, new: &NewSignIn) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        prune(&transaction, new.created_at).await?;
        insert(&transaction, new).await?;
        transaction.commit().await
    }

    async fn find(&self, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
        let row = self.row(select!("AND id = $2"), &[&id.as_str()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn find_by_state(&self, state_hash: &[u8; 32]) -> Result<Option<SignIn>, StoreError> {
        let row = self.row(select!("AND state_hash = $2"), &[&state_hash.as_slice()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn take(&self, id: &SignInId, now: Timestamp) -> Result<TakeSignInResult, StoreError> {
        let transaction = self.begin().await?;
        let Some(found) = find_locked(&transaction, id).await? else { return Ok(TakeSignInResult::Expired) };
        if found.taken_at.is_some() || found.result.is_some() {
            return Ok(TakeSignInResult::Used);
        }
        if found.expires_at <= now {
            return Ok(TakeSignInResult::Expired);
        }
        let is_allowed = match &found.link {
            Some(link) => connect_links::take_use(&transaction, link, None).await?,
            None => true,
        };
        if !is_allowed {
            return Ok(TakeSignInResult::LinkUsed);
        }
        let sql = "UPDATE integ.sign_ins SET taken_at = $3, details = NULL WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&id.as_str(), &now.as_second()]).await?;
        transaction.commit().await?;
        Ok(TakeSignInResult::Claimed)
    }

    async fn finish(&self, id: &SignInId, result: &SignInResult, now: Timestamp) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let Some(found) = find_locked(&transaction, id).await?.filter(|found| found.result.is_none()) else {
            return Ok(());
        };
        let sealed = transaction.sealer.seal(RESULT, id.as_str(), to_json(result)?)?;
        let sql = "UPDATE integ.sign_ins SET result = $3, ended_at = $4, details = NULL
                   WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&id.as_str(), &sealed, &now.as_second()]).await?;
        if matches!(result, SignInResult::Failed(_))
            && let SignIn { link: Some(link), taken_at: Some(_), .. } = &found
        {
            connect_links::return_use(&transaction, link).await?;
        }
        transaction.commit().await
    }

    async fn withdraw(&self, connector: &str) -> Result<u64, StoreError> {
        let sql = "DELETE FROM integ.sign_ins
                   WHERE workspace_id = $1 AND connector = $2 AND taken_at IS NULL AND result IS NULL";
        self.execute(sql, &[&connector]).await
    }

    async fn claim_poll(&self, id: &SignInId, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE integ.sign_ins SET polled_at = $3 WHERE workspace_id = $1 AND id = $2 AND taken_at IS NULL
                   AND result IS NULL AND poll_interval_secs IS NOT NULL AND polled_at + poll_interval_secs * 1000 <= $3";
        Ok(self.execute(sql, &[&id.as_str(), &now.as_millisecond()]).await? == 1)
    }

    async fn slow_down(&self, id: &SignInId, seconds: u32) -> Result<(), StoreError> {
        let sql = "UPDATE integ.sign_ins SET poll_interval_secs = least(poll_interval_secs + $3, 300)
                   WHERE workspace_id = $1 AND id = $2 AND poll_interval_secs IS NOT NULL";
        self.execute(sql, &[&id.as_str(), &i64::from(seconds)]).await.map(drop)
    }

    async fn prune(&self, now: Timestamp) -> Result<usize, StoreError> {
        let transaction = self.begin().await?;
        let pruned = prune(&transaction, now).await?;
        transaction.commit().await?;
        Ok(pruned)
    }
}

async fn insert(transaction: &Transaction, new: &NewSignIn) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO integ.sign_ins (workspace_id, id, state_hash, connector, account, details, poll_interval_secs,
                   polled_at, user_id, link_id, return_to, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let details = transaction.sealer.seal(DETAILS, new.id.as_str(), new.details.expose())?;
    let values: [Value<'_>; 12] = [
        &new.id.as_str(),
        &new.state_hash.as_ref().map(<[u8; 32]>::as_slice),
        &new.connection.connector(),
        &new.connection.account().unwrap_or_default(),
        &details,
        &new.poll_interval.map(|interval| signed(interval.as_secs())),
        // The person needs a while to enter the code.
        &new.created_at.as_millisecond(),
        &new.user.as_ref().map(UserId::as_str),
        &new.link.as_ref().map(ConnectLinkId::as_str),
        &new.return_to.as_ref().map(Url::as_str),
        &new.created_at.as_second(),
        &new.expires_at.as_second(),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

/// Returns a sign-in, which nobody else changes until the transaction ends.
async fn find_locked(transaction: &Transaction, id: &SignInId) -> Result<Option<SignIn>, StoreError> {
    let row = transaction.first(select!("AND id = $2 FOR UPDATE"), &[&id.as_str()]).await?;
    row.map(|row| from_row(&transaction.sealer, &row)).transpose()
}

async fn prune(transaction: &Transaction, now: Timestamp) -> Result<usize, StoreError> {
    let before = now.checked_sub(RESULT_RETENTION).unwrap_or(Timestamp::MIN).as_second();
    let sql = "DELETE FROM integ.sign_ins
               WHERE workspace_id = $1 AND coalesce(ended_at, greatest(expires_at, coalesce(taken_at, 0))) < $2";
    Ok(usize::try_from(transaction.execute(sql, &[&before]).await?).unwrap_or(usize::MAX))
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<SignIn, StoreError> {
    let id: &str = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    let invalid = MalformedValue::EnumValue;
    let url = |text: String| Url::parse(&text).map_err(|_| invalid(text));
    Ok(SignIn {
        id: id.parse().map_err(invalid)?,
        connection: connection_name(row)?,
        user: user(row, "user_id")?,
        link: get::<Option<&str>>(row, "link_id")?.map(|id| id.parse().map_err(invalid)).transpose()?,
        return_to: get::<Option<String>>(row, "return_to")?.map(url).transpose()?,
        created_at: get_seconds(row, "created_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        details: sealed.text(DETAILS)?.map(Secret::new),
        poll_interval: optional_number(row, "poll_interval_secs")?.map(Duration::from_secs),
        taken_at: optional_seconds(row, "taken_at")?,
        result: sealed.json(RESULT)?,
    })
}
