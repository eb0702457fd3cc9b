//! Verifies a captured request.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ConnectionName;
use crate::runtime::Workspace;
use crate::signing::request::WebhookRequest;
use crate::view::webhook::VerificationView;
use crate::webhook::inbound::explain::explain;
use crate::webhook::settings::{DEFAULT_PORT, WebhookSettings};

/// A captured request, and how to verify it.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    pub connection: ConnectionName,
    /// Its URL may be a path, as it is on the wire.
    pub request: WebhookRequest,
    /// The URL that the vendor called; the connection's URL with the request's query if absent.
    pub url: Option<String>,
    /// The time to verify it at; now if absent.
    pub at: Option<Timestamp>,
}

/// Returns whether a request is from the vendor, with each check. A rejected request is not an error.
pub async fn verify_request(workspace: &Workspace, request: VerifyRequest) -> Result<VerificationView> {
    let VerifyRequest { connection, mut request, url, at } = request;
    let settings = WebhookSettings::load(workspace, &connection).await?;
    let own = settings.url(settings.stored.port.unwrap_or(DEFAULT_PORT))?;
    request.url = url.unwrap_or_else(|| match request.url.split_once('?') {
        Some((_, query)) => format!("{own}?{query}"),
        None => own.to_string(),
    });
    let report = explain(workspace, &settings, &request, at.unwrap_or_else(|| workspace.clock.now())).await?;
    Ok(VerificationView::new(&connection, report))
}
