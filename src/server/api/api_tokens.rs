//! API tokens. A token sees and makes only tokens with a part of its own rights.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{CursorPage, PageQuery};
use super::super::reply::{Created, JsonReply};
use super::{ApiRoute, DELETE, GET, PATCH, POST, Unused};
use crate::error::Result;
use crate::model::{ApprovalPolicy, ConnectionName, RateTier, UserId};
use crate::ops::api_tokens::{
    self, ConnectionLimit, CreateApiTokenRequest, RotateApiTokenRequest, UpdateApiTokenRequest,
};
use crate::view::api_token::{
    ApiScopeListView, ApiTokenUsageView, ApiTokenView, NewApiTokenView, RevokedApiTokensView,
};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/api-tokens"), "api-token list", "List the API tokens, without their texts", list),
        ApiRoute::new(
            (POST, "/v1/api-tokens"),
            "api-token create",
            "Create an API token; the response is the only one that contains its text",
            create,
        )
        .returning_secret(),
        ApiRoute::new((GET, "/v1/api-tokens/{api_token}"), "api-token show", "Show an API token with its scopes", show),
        ApiRoute::new((PATCH, "/v1/api-tokens/{api_token}"), "api-token update", "Change an API token", update),
        ApiRoute::new(
            (DELETE, "/v1/api-tokens/{api_token}"),
            "api-token revoke",
            "Revoke an API token and the tokens that were created with it",
            revoke,
        ),
        ApiRoute::new(
            (POST, "/v1/api-tokens/{api_token}/rotate"),
            "api-token rotate",
            "Replace the text of an API token",
            rotate,
        ),
        ApiRoute::new(
            (GET, "/v1/api-tokens/{api_token}/usage"),
            "api-token usage",
            "Count the requests of an API token by day",
            usage,
        ),
        ApiRoute::new(
            (GET, "/v1/api-token-scopes"),
            "api-token scopes",
            "List the scopes that tokens can have",
            scopes,
        ),
    ]
}

async fn list(call: Call<PageQuery, Unused>) -> Result<JsonReply<CursorPage<ApiTokenView>>> {
    let PageQuery { limit, cursor } = call.query;
    let tokens = api_tokens::list_tokens(&call.workspace, call.caller.token()).await?.tokens;
    Ok(JsonReply(CursorPage::of_list(tokens, cursor.as_ref(), limit, |token| token.id.to_string())?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    name: String,
    /// Scopes such as `connections:read`, and groups such as `read:*`.
    scopes: Vec<String>,
    /// The connections that it is limited to; those of the calling token if empty.
    #[serde(default)]
    connections: Vec<ConnectionName>,
    user: Option<UserId>,
    expires_days: Option<Bounded<1, 1825>>,
    /// Days after which a reminder to rotate it is shown.
    rotate_after_days: Option<Bounded<1, 1825>>,
    /// Which of its requests need a person's approval: at least those for which the calling token needs one.
    approve: Option<ApprovalPolicy>,
}

async fn create(call: Call<Unused, CreateBody>) -> Result<Created<NewApiTokenView>> {
    let body = call.body;
    call.caller.check_grants(&api_tokens::parse_scopes(&body.scopes)?)?;
    let request = CreateApiTokenRequest {
        name: body.name,
        user: body.user,
        scopes: body.scopes,
        connections: body.connections,
        tier: None::<RateTier>,
        expires_in: body.expires_days.map(Bounded::days),
        rotate_after: body.rotate_after_days.map(Bounded::days),
        approve: body.approve,
    };
    let view = api_tokens::create_token(&call.workspace, request, call.caller.token()).await?;
    Ok(Created(format!("/v1/api-tokens/{}", view.token.id), view))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<ApiTokenView>> {
    let token: String = call.path("api_token")?;
    Ok(JsonReply(api_tokens::show_token(&call.workspace, &token, call.caller.token()).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    name: Option<String>,
    enabled: Option<bool>,
    /// New scopes, all of which it already has.
    scopes: Option<Vec<String>>,
    /// New connections, all of which it may already use.
    connections: Option<Vec<ConnectionName>>,
    /// Which of its requests need a person's approval: the current ones, or more.
    approve: Option<ApprovalPolicy>,
}

async fn update(call: Call<Unused, UpdateBody>) -> Result<JsonReply<ApiTokenView>> {
    let token = call.path("api_token")?;
    let UpdateBody { name, enabled, scopes, connections, approve } = call.body;
    if let Some(scopes) = &scopes {
        call.caller.check_grants(&api_tokens::parse_scopes(scopes)?)?;
    }
    let request = UpdateApiTokenRequest {
        token,
        name,
        is_enabled: enabled,
        scopes,
        connections: connections.map(ConnectionLimit::Only),
        tier: None,
        rotate_after: None,
        approve,
    };
    Ok(JsonReply(api_tokens::update_token(&call.workspace, request, call.caller.token()).await?))
}

async fn revoke(call: Call<Unused, Unused>) -> Result<JsonReply<RevokedApiTokensView>> {
    let token: String = call.path("api_token")?;
    Ok(JsonReply(api_tokens::revoke_token(&call.workspace, &token, call.caller.token()).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// Seconds for which the current text is still accepted; none if absent.
    grace_secs: Option<Bounded<0, 604_800>>,
}

async fn rotate(call: Call<Unused, RotateBody>) -> Result<JsonReply<NewApiTokenView>> {
    let token: String = call.path("api_token")?;
    // Its new text is as good as one that is made.
    let present = api_tokens::show_token(&call.workspace, &token, call.caller.token()).await?;
    call.caller.check_grants(&present.scopes)?;
    let grace = call.body.grace_secs.map_or(Duration::ZERO, Bounded::seconds);
    let request = RotateApiTokenRequest { token, grace, expires_in: None };
    Ok(JsonReply(api_tokens::rotate_token(&call.workspace, request, call.caller.token()).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UsageQuery {
    /// The number of days, today included.
    #[serde(default = "month")]
    days: Bounded<1, 366>,
}

fn month() -> Bounded<1, 366> {
    Bounded::clamped(30)
}

async fn usage(call: Call<UsageQuery, Unused>) -> Result<JsonReply<ApiTokenUsageView>> {
    let token: String = call.path("api_token")?;
    let days = call.query.days.days().saturating_sub(Bounded::<1, 1>::clamped(1).days());
    let since = call.workspace.clock.now().checked_sub(days).unwrap_or(Timestamp::MIN);
    Ok(JsonReply(api_tokens::token_usage(&call.workspace, &token, since, call.caller.token()).await?))
}

async fn scopes(_: Call<Unused, Unused>) -> Result<JsonReply<ApiScopeListView>> {
    Ok(JsonReply(api_tokens::list_scopes()))
}
