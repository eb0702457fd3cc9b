//! Approvals that requests of the token wait for. They are decided about at the machine of the server.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, Limit, Page};
use super::super::reply::Json;
use super::{GET, Route, Unused};
use crate::error::Result;
use crate::model::ApprovalStatus;
use crate::ops::approvals::{self, ListApprovalsRequest};
use crate::view::approval::{ApprovalDetailView, ApprovalView};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new((GET, "/v1/approvals"), "approval list", "List the approvals that were asked for", list),
        Route::new(
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

async fn list(call: Call<ListQuery, Unused>) -> Result<Json<Page<ApprovalView>>> {
    let ListQuery { status, limit, cursor } = call.query;
    let after = cursor.map(|cursor| cursor.key()).transpose()?;
    let request = ListApprovalsRequest { status, after, limit: limit.with_next() };
    let listed = approvals::list_approvals(&call.workspace, request, Some(&call.caller)).await?.approvals;
    Ok(Json(Page::new(listed, limit, |approval| approval.approval.to_string())))
}

async fn show(call: Call<Unused, Unused>) -> Result<Json<ApprovalDetailView>> {
    let id = call.path("approval")?;
    Ok(Json(approvals::show_approval(&call.workspace, &id, Some(&call.caller)).await?))
}
