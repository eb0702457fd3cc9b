//! Approvals that requests of the token wait for. They are decided about at the machine of the server.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::JsonReply;
use super::{ApiRoute, GET, Unused};
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
    let listed = approvals::list_approvals(&call.workspace, request, Some(&call.caller)).await?.approvals;
    Ok(JsonReply(CursorPage::new(listed, limit, |approval| approval.approval.to_string())))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<ApprovalDetailView>> {
    let id = call.path("approval")?;
    Ok(JsonReply(approvals::show_approval(&call.workspace, &id, Some(&call.caller)).await?))
}
