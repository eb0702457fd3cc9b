//! Approvals that requests of tokens wait for. People decide about them: at the machine of the server, or signed in to the
//! dashboard as approvers, who alone have these routes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::JsonReply;
use super::{ApiRoute, GET, POST, Unused};
use crate::error::Result;
use crate::model::ApprovalStatus;
use crate::ops::approvals::{self, ListApprovalsRequest};
use crate::view::approval::{ApprovalDetailView, ApprovalView};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(
            (GET, "/v1/approvals"),
            "approval list",
            "List the requests that need or needed an approval",
            list,
        ),
        ApiRoute::new(
            (GET, "/v1/approvals/{approval}"),
            "approval show",
            "Show an approval with its status and the whole request",
            show,
        ),
        ApiRoute::new((POST, "/v1/approvals/{approval}/grant"), "approval grant", "Allow the request", grant),
        ApiRoute::new((POST, "/v1/approvals/{approval}/deny"), "approval deny", "Deny the request", deny),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    status: Option<ApprovalStatus>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<ApprovalView>>> {
    let ListQuery { status, limit, cursor } = call.query;
    let after = cursor.map(|cursor| cursor.key()).transpose()?;
    let request = ListApprovalsRequest { status, after, limit: limit.with_next() };
    let listed = approvals::list_approvals(&call.workspace, request, call.caller.token()).await?.approvals;
    Ok(JsonReply(CursorPage::new(listed, limit, |approval| approval.approval.to_string())))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<ApprovalDetailView>> {
    let id = call.path("approval")?;
    Ok(JsonReply(approvals::show_approval(&call.workspace, &id, call.caller.token()).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    /// For how many seconds the same request is allowed as often as wanted; once, within a day, if absent.
    window_secs: Option<Bounded<1, 2_592_000>>,
}

async fn grant(call: Call<Unused, GrantBody>) -> Result<JsonReply<ApprovalDetailView>> {
    let id = call.path("approval")?;
    let window = call.body.window_secs.map(Bounded::seconds);
    Ok(JsonReply(approvals::grant_approval(&call.workspace, &id, window).await?))
}

async fn deny(call: Call<Unused, Unused>) -> Result<JsonReply<ApprovalDetailView>> {
    let id = call.path("approval")?;
    Ok(JsonReply(approvals::deny_approval(&call.workspace, &id).await?))
}
