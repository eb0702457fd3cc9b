//! The audit log.

use std::ops::ControlFlow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::few;
use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::{JsonReply, Lines};
use super::{ApiRoute, GET, POST, Unused};
use crate::error::Result;
use crate::model::{AuditSequence, ConnectionName, UserId};
use crate::ops::audit::{self, ListAuditRequest};
use crate::view::audit::{AuditEntryView, AuditVerificationView};
use crate::view::schema::Time;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/audit"), "audit list", "List the entries of the audit log, the newest first", list),
        ApiRoute::new((POST, "/v1/audit-verifications"), "audit verify", "Verify the audit log", verify),
        ApiRoute::new(
            (GET, "/v1/audit-export"),
            "audit export",
            "Export the audit log, one entry per line; the last line is a signed checkpoint",
            export,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only entries of this connection, which may have been removed.
    connection: Option<ConnectionName>,
    user: Option<UserId>,
    /// Only entries of this API token's id or operator's name, or of a kind: `local`, `api_token`, `operator`, `worker`.
    actor: Option<String>,
    /// The name of an operation, such as `webhook retry`; repeated, entries of any of them.
    #[serde(default, deserialize_with = "few")]
    #[schemars(length(max = 50))]
    operation: Vec<String>,
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<AuditEntryView>>> {
    let ListQuery { connection, user, actor, operation, since, limit, cursor } = call.query;
    let before = cursor.map(|cursor| cursor.key().map(AuditSequence)).transpose()?;
    let actor = actor.map(Into::into);
    let request =
        ListAuditRequest { connection, user, actor, operations: operation, since, before, limit: limit.with_next() };
    let entries = audit::list_entries(&call.workspace, request).await?.entries;
    Ok(JsonReply(CursorPage::new(entries, limit, |entry| entry.sequence.to_string())))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    /// A checkpoint that was stored elsewhere, or an export that ends with one.
    checkpoint: Option<String>,
}

async fn verify(call: Call<Unused, VerifyBody>) -> Result<JsonReply<AuditVerificationView>> {
    Ok(JsonReply(audit::verify_log(&call.workspace, call.body.checkpoint.as_deref()).await?))
}

async fn export(call: Call<Unused, Unused>) -> Result<Lines> {
    let mut lines = Lines::default();
    let checkpoint = audit::export_log(&call.workspace, |entry| {
        lines.push(&entry);
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    if let Some(checkpoint) = checkpoint {
        lines.push(&checkpoint);
    }
    Ok(lines)
}
