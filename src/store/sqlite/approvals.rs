//! Approvals.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};

use super::row::{Row, collect, first, get_optional_seconds, get_seconds, get_word, query};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    ApiTokenId, Approval, ApprovalClaim, ApprovalDecision, ApprovalId, ApprovalRequest, ApprovalStatus, ApprovalUse,
    ConnectionName,
};
use crate::store::Approvals;

/// How long an approval that ended is listed.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// How many approvals a token may wait for, and all agents on this machine together.
const MAX_PENDING: u32 = 100;

/// Selects approvals with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, token_id, operation, effect, connection, digest, summary, request, status, use_limit, \
             requested_at, expires_at, decided_at, used_at FROM approvals ",
            $rest
        )
    };
}

#[async_trait]
impl Approvals for SqliteStore {
    async fn claim(&self, new: &Approval, now: Timestamp) -> Result<ApprovalClaim, StoreError> {
        let new = new.clone();
        self.write(move |transaction| claim(transaction, &new, now)).await
    }

    async fn list(&self, after: Option<&ApprovalId>, limit: u32) -> Result<Vec<Approval>, StoreError> {
        let after = after.cloned();
        self.read(move |sqlite| {
            let sql = select!(
                "WHERE ?1 IS NULL OR (requested_at, id) < (SELECT requested_at, id FROM approvals WHERE id = ?1) \
                 ORDER BY requested_at DESC, id DESC LIMIT ?2"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, params![after.as_ref().map(ApprovalId::as_str), limit])?, from_row)
        })
        .await
    }

    async fn find(&self, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| find(sqlite, &id)).await
    }

    async fn decide(
        &self,
        id: &ApprovalId,
        decision: ApprovalDecision,
        now: Timestamp,
    ) -> Result<Option<Approval>, StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            let now = now.as_second();
            let decided = match decision {
                ApprovalDecision::Grant { use_limit, expires_at } => {
                    let sql = "UPDATE approvals SET status = 'granted', use_limit = ?3, expires_at = ?4, decided_at = ?2 \
                               WHERE id = ?1 AND status IN ('pending', 'denied') AND expires_at > ?2";
                    let values = params![id.as_str(), now, use_limit.as_str(), expires_at.as_second()];
                    transaction.execute(sql, values)?
                }
                ApprovalDecision::Deny => {
                    let sql = "UPDATE approvals SET status = 'denied', decided_at = ?2 \
                               WHERE id = ?1 AND status IN ('pending', 'granted') AND expires_at > ?2";
                    transaction.execute(sql, params![id.as_str(), now])?
                }
            };
            if decided == 0 { Ok(None) } else { find(transaction, &id) }
        })
        .await
    }
}

/// The token that asks, as in the index of open approvals.
fn requester(request: &ApprovalRequest) -> &str {
    request.token.as_ref().map_or("", ApiTokenId::as_str)
}

fn claim(transaction: &Transaction<'_>, new: &Approval, now: Timestamp) -> Result<ApprovalClaim, StoreError> {
    end(transaction, now)?;
    let request = &new.request;
    let sql = select!("WHERE ifnull(token_id, '') = ?1 AND digest = ?2 AND status IN ('pending', 'granted', 'denied')");
    let mut statement = transaction.prepare_cached(sql)?;
    let open = first(query(&mut statement, (requester(request), request.digest.as_slice()))?, from_row)?;
    let Some(approval) = open else {
        let sql = "SELECT count(*) FROM approvals WHERE ifnull(token_id, '') = ?1 AND status = 'pending'";
        let pending: u32 = transaction.query_row(sql, [requester(request)], |row| row.get(0))?;
        if pending >= MAX_PENDING {
            return Ok(ApprovalClaim::TooMany);
        }
        insert(transaction, new)?;
        return Ok(ApprovalClaim::Pending { approval: new.clone(), is_new: true });
    };
    match approval.status {
        ApprovalStatus::Granted => {
            let status = match approval.use_limit {
                ApprovalUse::Once => ApprovalStatus::Used,
                ApprovalUse::Repeated => ApprovalStatus::Granted,
            };
            let sql = "UPDATE approvals SET status = ?2, used_at = ?3 WHERE id = ?1";
            transaction.execute(sql, params![approval.id.as_str(), status.as_str(), now.as_second()])?;
            Ok(ApprovalClaim::Granted(Approval { status, used_at: Some(now), ..approval }))
        }
        ApprovalStatus::Denied => Ok(ApprovalClaim::Denied(approval)),
        _ => Ok(ApprovalClaim::Pending { approval, is_new: false }),
    }
}

/// Ends what was not decided about or used in time, so that a request can be made again, and removes what ended long ago.
fn end(transaction: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE approvals SET status = 'expired' \
               WHERE status IN ('pending', 'granted', 'denied') AND expires_at <= ?1";
    transaction.execute(sql, [now.as_second()])?;
    let before = now.checked_sub(RETENTION).unwrap_or(Timestamp::MIN).as_second();
    transaction.execute("DELETE FROM approvals WHERE expires_at < ?1", [before])?;
    Ok(())
}

fn insert(transaction: &Transaction<'_>, approval: &Approval) -> Result<(), StoreError> {
    let sql = "INSERT INTO approvals (id, token_id, operation, effect, connection, digest, summary, request, status, \
               use_limit, requested_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let request = &approval.request;
    transaction.execute(
        sql,
        params![
            approval.id.as_str(),
            request.token.as_ref().map(ApiTokenId::as_str),
            request.operation,
            request.effect.as_str(),
            request.connection.as_ref().map(ToString::to_string),
            request.digest.as_slice(),
            request.summary,
            request.request,
            approval.status.as_str(),
            approval.use_limit.as_str(),
            approval.requested_at.as_second(),
            approval.expires_at.as_second(),
        ],
    )?;
    Ok(())
}

fn find(sqlite: &Connection, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE id = ?1"))?;
    first(query(&mut statement, [id.as_str()])?, from_row)
}

fn from_row(row: &Row<'_>) -> Result<Approval, StoreError> {
    let connection: Option<String> = row.get("connection")?;
    let connection = connection.map(|name| name.parse::<ConnectionName>().map_err(|_| MalformedValue::Name));
    let digest: Vec<u8> = row.get("digest")?;
    Ok(Approval {
        id: get_word(row, "id")?,
        request: ApprovalRequest {
            token: row.get::<Option<String>>("token_id")?.map(|_| get_word(row, "token_id")).transpose()?,
            operation: row.get("operation")?,
            effect: get_word(row, "effect")?,
            connection: connection.transpose()?,
            digest: digest.try_into().map_err(|_| MalformedValue::EnumValue("digest".to_owned()))?,
            summary: row.get("summary")?,
            request: row.get("request")?,
        },
        status: get_word(row, "status")?,
        use_limit: get_word(row, "use_limit")?,
        requested_at: get_seconds(row, "requested_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        decided_at: get_optional_seconds(row, "decided_at")?,
        used_at: get_optional_seconds(row, "used_at")?,
    })
}
