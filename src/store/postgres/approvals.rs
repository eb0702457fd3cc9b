//! Approvals. While a request claims one, the others of its token wait: the row of the token is locked. Requests of agents on
//! this machine, which have no token, wait for each other.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, get, get_seconds, get_word, number, optional_seconds, optional_word};
use super::seal::{Column, Sealer, column};
use super::transaction::{Subject, Transaction};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    ApiTokenId, Approval, ApprovalClaim, ApprovalDecision, ApprovalId, ApprovalRequest, ApprovalStatus, ApprovalUse,
};
use crate::store::{Approvals, MalformedValue, StoreError};

/// How long an approval that ended is listed.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// How many approvals a token may wait for, and all agents on the machines of the nodes together.
const MAX_PENDING: u32 = 100;

const SUMMARY: Column = column("approvals", "summary");
const REQUEST: Column = column("approvals", "request");
const REQUEST_DIGEST: Column = column("approvals", "request_digest");

/// Selects approvals with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, token_id, operation, effect, connection, summary, request, request_digest, status, use_limit,
             requested_at, expires_at, decided_at, used_at FROM integ.approvals WHERE workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Approvals for PostgresStore {
    async fn claim(&self, new: &Approval, now: Timestamp) -> Result<ApprovalClaim, StoreError> {
        let transaction = self.begin().await?;
        let claimed = claim(&transaction, new, now).await?;
        transaction.commit().await?;
        Ok(claimed)
    }

    async fn list(&self, after: Option<&ApprovalId>, limit: u32) -> Result<Vec<Approval>, StoreError> {
        let sql = select!(
            "AND ($2 IS NULL OR (requested_at, id) < (SELECT a.requested_at, a.id FROM integ.approvals a
             WHERE a.workspace_id = $1 AND a.id = $2)) ORDER BY requested_at DESC, id DESC LIMIT $3"
        );
        let rows = self.rows(sql, &[&after.map(ApprovalId::as_str), &i64::from(limit)]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn find(&self, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
        let row = self.row(select!("AND id = $2"), &[&id.as_str()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn decide(
        &self,
        id: &ApprovalId,
        decision: ApprovalDecision,
        now: Timestamp,
    ) -> Result<Option<Approval>, StoreError> {
        let transaction = self.begin().await?;
        let (id, now) = (id.as_str(), now.as_second());
        let decided = match decision {
            ApprovalDecision::Grant { use_limit, expires_at } => {
                let sql =
                    "UPDATE integ.approvals SET status = 'granted', use_limit = $4, expires_at = $5, decided_at = $3
                           WHERE workspace_id = $1 AND id = $2 AND status IN ('pending', 'denied') AND expires_at > $3";
                transaction.execute(sql, &[&id, &now, &use_limit.as_str(), &expires_at.as_second()]).await?
            }
            ApprovalDecision::Deny => {
                let sql = "UPDATE integ.approvals SET status = 'denied', decided_at = $3
                           WHERE workspace_id = $1 AND id = $2 AND status IN ('pending', 'granted') AND expires_at > $3";
                transaction.execute(sql, &[&id, &now]).await?
            }
        };
        if decided == 0 {
            return Ok(None);
        }
        let row = transaction.first(select!("AND id = $2"), &[&id]).await?;
        let approval = row.map(|row| from_row(&transaction.sealer, &row)).transpose()?;
        transaction.commit().await?;
        Ok(approval)
    }
}

async fn claim(transaction: &Transaction, new: &Approval, now: Timestamp) -> Result<ApprovalClaim, StoreError> {
    if let Some(token) = &new.request.token {
        let sql = "SELECT 1 FROM integ.api_tokens WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE";
        transaction.query(sql, &[&token.as_str()]).await?;
    } else {
        transaction.lock(Subject::LocalApprovals).await?;
    }
    // As in the index of open approvals.
    let token = new.request.token.as_ref().map_or("", ApiTokenId::as_str);
    end(transaction, now).await?;
    let digest = keyed_digest(&transaction.sealer, &new.request);
    let sql = select!("AND coalesce(token_id, '') = $2 AND digest = $3 AND status IN ('pending', 'granted', 'denied')");
    let Some(row) = transaction.first(sql, &[&token, &digest]).await? else {
        let sql = "SELECT count(*) AS count FROM integ.approvals
                   WHERE workspace_id = $1 AND coalesce(token_id, '') = $2 AND status = 'pending'";
        let row = transaction.first(sql, &[&token]).await?;
        let pending: u32 = row.map_or(Ok(0), |row| number(&row, "count"))?;
        if pending >= MAX_PENDING {
            return Ok(ApprovalClaim::TooMany);
        }
        insert(transaction, new, &digest).await?;
        return Ok(ApprovalClaim::Pending { approval: new.clone(), is_new: true });
    };
    let approval = from_row(&transaction.sealer, &row)?;
    match approval.status {
        ApprovalStatus::Granted => {
            let status = match approval.use_limit {
                ApprovalUse::Once => ApprovalStatus::Used,
                ApprovalUse::Repeated => ApprovalStatus::Granted,
            };
            let sql = "UPDATE integ.approvals SET status = $3, used_at = $4 WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[&approval.id.as_str(), &status.as_str(), &now.as_second()]).await?;
            Ok(ApprovalClaim::Granted(Approval { status, used_at: Some(now), ..approval }))
        }
        ApprovalStatus::Denied => Ok(ApprovalClaim::Denied(approval)),
        _ => Ok(ApprovalClaim::Pending { approval, is_new: false }),
    }
}

/// Ends what was not decided about or used in time, so that a request can be made again, and removes what ended long ago.
async fn end(transaction: &Transaction, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE integ.approvals SET status = 'expired'
               WHERE workspace_id = $1 AND status IN ('pending', 'granted', 'denied') AND expires_at <= $2";
    transaction.execute(sql, &[&now.as_second()]).await?;
    let before = now.checked_sub(RETENTION).unwrap_or(Timestamp::MIN).as_second();
    let sql = "DELETE FROM integ.approvals WHERE workspace_id = $1 AND expires_at < $2";
    transaction.execute(sql, &[&before]).await.map(drop)
}

/// The digest of a request would confirm a guess of its contents.
fn keyed_digest(sealer: &Sealer, request: &ApprovalRequest) -> Vec<u8> {
    sealer.hash("approvals", &[request.digest.as_slice()])
}

async fn insert(transaction: &Transaction, approval: &Approval, digest: &[u8]) -> Result<(), StoreError> {
    let sql = "INSERT INTO integ.approvals (workspace_id, id, token_id, operation, effect, connection, digest, summary,
                   request, request_digest, status, use_limit, requested_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let (id, request) = (approval.id.as_str(), &approval.request);
    let values: [Value<'_>; 13] = [
        &id,
        &request.token.as_ref().map(ApiTokenId::as_str),
        &request.operation,
        &request.effect.as_str(),
        &request.connection.as_ref().map(ToString::to_string),
        &digest,
        &transaction.sealer.seal(SUMMARY, id, &request.summary)?,
        &transaction.sealer.seal(REQUEST, id, &request.request)?,
        &transaction.sealer.seal(REQUEST_DIGEST, id, request.digest)?,
        &approval.status.as_str(),
        &approval.use_limit.as_str(),
        &approval.requested_at.as_second(),
        &approval.expires_at.as_second(),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Approval, StoreError> {
    let id: &str = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    let digest = sealed.bytes(REQUEST_DIGEST)?.unwrap_or_default();
    Ok(Approval {
        id: get_word(row, "id")?,
        request: ApprovalRequest {
            token: optional_word(row, "token_id")?,
            operation: get(row, "operation")?,
            effect: get_word(row, "effect")?,
            connection: optional_word(row, "connection")?,
            digest: digest.try_into().map_err(|_| MalformedValue::EnumValue("digest".to_owned()))?,
            summary: sealed.required_text(SUMMARY)?,
            request: sealed.required_text(REQUEST)?,
        },
        status: get_word(row, "status")?,
        use_limit: get_word(row, "use_limit")?,
        requested_at: get_seconds(row, "requested_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        decided_at: optional_seconds(row, "decided_at")?,
        used_at: optional_seconds(row, "used_at")?,
    })
}
