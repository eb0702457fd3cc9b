//! Subscriptions: the connection's URL registered at its vendor by the vendor's API.

use crate::api::Input;
use crate::error::Result;
use crate::http::Request;
use crate::model::subscription::SubscriptionId;
use crate::model::{ConnectionName, Grant, matches_type};
use crate::oauth::refresh;
use crate::runtime::{Session, Workspace};
use crate::view::webhook::{SubscribedView, SubscriptionView, UnsubscribedView};
use crate::webhook::settings::WebhookSettings;
use crate::webhook::subscription::{self, SubscribeOptions};

/// What to register.
#[derive(Clone, Debug)]
pub struct SubscribeRequest {
    pub connection: ConnectionName,
    /// The address that the vendor calls, stored for later; the one stored before if absent.
    pub url: Option<String>,
    /// Event types; if empty, all that the connector knows where the vendor asks for them.
    pub events: Vec<String>,
    /// Further parameters of the vendor's API.
    pub input: Input,
}

/// Which subscriptions to end.
#[derive(Clone, Debug)]
pub struct UnsubscribeRequest {
    pub connection: ConnectionName,
    /// The only one if absent.
    pub id: Option<SubscriptionId>,
    /// All of them.
    pub all: bool,
    /// Removes them locally, and leaves them at the vendor.
    pub local: bool,
}

/// The request that [`subscribe`] would send, and how its secrets are redacted.
pub struct SubscriptionPreview {
    pub session: Session,
    pub request: Request,
    pub grant: Grant,
}

/// Registers the connection's URL at its vendor. An existing subscription is not changed.
///
/// # Errors
/// [`subscription::SubscribeError`], and those of [`crate::api::call`].
pub async fn subscribe(workspace: &Workspace, request: SubscribeRequest) -> Result<SubscribedView> {
    let name = &request.connection;
    let unknown_events = unknown_events(&WebhookSettings::load(workspace, name).await?, &request.events);
    let result = subscription::subscribe(workspace, name, &options(&request)).await?;
    Ok(SubscribedView {
        connection: name.to_string(),
        url: result.subscription.request.url.clone(),
        is_new: result.is_new,
        subscription: SubscriptionView::new(&result.subscription, workspace.clock.now()),
        unknown_events,
    })
}

/// Returns the request that [`subscribe`] would send; sends and stores nothing.
///
/// # Errors
/// Those of [`subscribe`].
pub async fn preview_subscription(workspace: &Workspace, request: SubscribeRequest) -> Result<SubscriptionPreview> {
    let name = &request.connection;
    let (session, prepared) = subscription::dry_run(workspace, name, &options(&request)).await?;
    Ok(SubscriptionPreview { session, request: prepared, grant: refresh::load_grant(workspace, name).await?.grant })
}

/// Ends subscriptions at the vendor and removes them.
///
/// # Errors
/// [`subscription::SubscribeError`], and those of [`crate::api::call`]; what was ended before the error is forgotten.
pub async fn unsubscribe(workspace: &Workspace, request: UnsubscribeRequest) -> Result<UnsubscribedView> {
    let UnsubscribeRequest { connection, id, all, local } = request;
    let ended = subscription::unsubscribe(workspace, &connection, id, all, local).await?;
    Ok(UnsubscribedView {
        connection: connection.to_string(),
        unsubscribed: ended.iter().map(|row| row.id.0).collect(),
        local,
    })
}

/// Returns the subscriptions of a connection.
pub(super) async fn list_subscriptions(
    workspace: &Workspace,
    settings: &WebhookSettings,
) -> Result<Vec<SubscriptionView>> {
    let now = workspace.clock.now();
    let rows = workspace.store().await?.subscriptions().list(Some(settings.connection.id)).await?;
    Ok(rows.iter().map(|row| SubscriptionView::new(row, now)).collect())
}

fn options(request: &SubscribeRequest) -> SubscribeOptions<'_> {
    SubscribeOptions { url: request.url.as_deref(), events: &request.events, input: &request.input }
}

/// Types that the connector does not know; whether there are such is for the vendor to judge.
fn unknown_events(settings: &WebhookSettings, events: &[String]) -> Vec<String> {
    let known = &settings.connector.events;
    let unknown = |kind: &&String| !known.is_empty() && !known.keys().any(|known| matches_type(kind, known));
    events.iter().filter(unknown).cloned().collect()
}
