//! Sign-ins that are started here and finished by a browser, and connect links for other people.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::reply::{Created, JsonReply};
use super::{ApiRoute, DELETE, GET, POST, Unused};
use crate::error::Result;
use crate::model::{ConnectLinkMode, UserId};
use crate::ops::connect_links::{self, CreateConnectLinkRequest};
use crate::ops::sign_ins::{self, StartSignInRequest};
use crate::view::connect_link::{ConnectLinkListView, NewConnectLinkView, RevokedConnectLinkView};
use crate::view::sign_in::{SignInView, StartedSignInView};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(
            (POST, "/v1/connections"),
            "connect start",
            "Start connecting an account: returns the page to open in a browser, or the connection if nobody has to sign in",
            start,
        ),
        ApiRoute::new((GET, "/v1/sign-ins/{sign_in}"), "connect show", "Show a sign-in and how it ended", show),
        ApiRoute::new((GET, "/v1/connect-links"), "connect-link list", "List the connect links", list_links),
        ApiRoute::new(
            (POST, "/v1/connect-links"),
            "connect-link create",
            "Create a link with which someone else connects an account",
            create_link,
        )
        .returning_secret(),
        ApiRoute::new(
            (DELETE, "/v1/connect-links/{connect_link}"),
            "connect-link revoke",
            "Revoke a connect link",
            revoke_link,
        ),
    ]
}

async fn start(call: Call<Unused, StartSignInRequest>) -> Result<Created<StartedSignInView>> {
    let view = Box::pin(sign_ins::start(&call.workspace, call.body)).await?;
    let location = match &view {
        StartedSignInView::Redirect { sign_in, .. } | StartedSignInView::DeviceCode { sign_in, .. } => {
            format!("/v1/sign-ins/{sign_in}")
        }
        StartedSignInView::Connected { connected } => {
            format!("/v1/connections/{}", connected.connection.connection)
        }
    };
    Ok(Created(location, view))
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<SignInView>> {
    Ok(JsonReply(Box::pin(sign_ins::show(&call.workspace, &call.path("sign_in")?)).await?))
}

async fn list_links(call: Call<Unused, Unused>) -> Result<JsonReply<ConnectLinkListView>> {
    Ok(JsonReply(connect_links::list(&call.workspace).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinkBody {
    connector: String,
    /// The account's name in the connection; derived from the user or the account if absent.
    account: Option<String>,
    /// The authentication method; the connector's first if absent.
    auth: Option<String>,
    /// Scopes to request, instead of the connector's defaults.
    #[serde(default)]
    scopes: Vec<String>,
    /// Values that are not secret, such as a subdomain.
    #[serde(default)]
    params: BTreeMap<String, String>,
    /// Your end user who will own the account.
    user: Option<UserId>,
    /// Use the built-in emulation of the service.
    #[serde(default)]
    is_sandbox: bool,
    /// For a pop-up window of your page: it reports the result to the origin of `return_to`, and closes.
    #[serde(default)]
    popup: bool,
    /// Where the browser goes afterwards: an address of an origin in `serve.return_origins`.
    return_to: Option<String>,
    /// Seconds for which it is valid; a day if absent.
    lifetime_secs: Option<Bounded<60, 604_800>>,
}

async fn create_link(call: Call<Unused, LinkBody>) -> Result<Created<NewConnectLinkView>> {
    let body = call.body;
    let return_to = body.return_to.as_deref().map(sign_ins::parse_return_to).transpose()?;
    let request = CreateConnectLinkRequest {
        connector: body.connector,
        account: body.account,
        auth: body.auth,
        scopes: body.scopes,
        params: body.params,
        user: body.user,
        is_sandbox: body.is_sandbox,
        display: if body.popup { ConnectLinkMode::Popup } else { ConnectLinkMode::Redirect },
        return_to,
        lifetime: body.lifetime_secs.map(Bounded::seconds),
        is_guarded: true,
    };
    let view = connect_links::create(&call.workspace, request).await?;
    Ok(Created("/v1/connect-links".to_owned(), view))
}

async fn revoke_link(call: Call<Unused, Unused>) -> Result<JsonReply<RevokedConnectLinkView>> {
    Ok(JsonReply(connect_links::revoke(&call.workspace, &call.path("connect_link")?).await?))
}
