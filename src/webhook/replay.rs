//! Sends received events to a URL again: the same bodies and IDs, in the order of arrival.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use url::Url;

use super::resign::resign;
use super::settings::WebhookSettings;
use super::simulate::send::{TimedResponse, WebhookSender};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::http::HttpError;
use crate::model::{ConnectionId, ConnectionName, EventId};
use crate::runtime::Workspace;
use crate::signing::request::WebhookRequest;

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which events go where.
#[derive(Debug)]
pub struct ReplayRequest<'a> {
    pub connection: Option<ConnectionId>,
    pub since: Timestamp,
    pub to: &'a Url,
}

/// One request that was sent again.
#[derive(Debug)]
pub struct ReplayResult {
    pub id: EventId,
    pub connection: ConnectionName,
    pub kind: String,
    pub delivery_id: String,
    /// Whether it carries a signature of now; else those that it came with.
    pub is_resigned: bool,
    pub response: Result<TimedResponse, HttpError>,
}

/// Sends them, one after another; a batch goes as the one request that it was.
///
/// # Errors
/// The vault's, and those of `sink`.
pub async fn replay(
    workspace: &Workspace,
    selection: &ReplayRequest<'_>,
    mut sink: impl FnMut(&ReplayResult) -> Result<()> + Send,
) -> Result<()> {
    if !workspace.has_vault() {
        return Ok(());
    }
    let sender = WebhookSender::new(&workspace.engine.config, TIMEOUT);
    let events = workspace.store().await?.events();
    let mut setups: HashMap<ConnectionName, Option<WebhookSettings>> = HashMap::new();
    let mut after = EventId(0);
    loop {
        let page = events.after(after, selection.connection, selection.since).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        // What the vendor did not confirm is not sent on under a signature of now.
        for event in page.into_iter().filter(|event| event.verification.is_trusted()) {
            let Some(raw) = events.raw_request(event.id).await?.filter(|raw| raw.is_first_of_request) else { continue };
            let setup = match setups.entry(event.connection.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(WebhookSettings::load(workspace, &event.connection).await.ok()),
            };
            let mut request = WebhookRequest::from_raw(&raw);
            request.url = joined(selection.to, &raw.query);
            let now = workspace.clock.now();
            let is_resigned = setup.as_ref().is_some_and(|setup| {
                setup.rules().is_ok_and(|rules| resign(rules, &setup.keys, &setup.vendor, &mut request, now))
            });
            let replayed = ReplayResult {
                id: event.id,
                response: sender.send(selection.to, &only_own_query(&request, selection.to)).await,
                connection: event.connection,
                kind: event.kind,
                delivery_id: event.delivery_id,
                is_resigned,
            };
            sink(&replayed)?;
        }
    }
}

/// The receiver's URL with the query that the request came with after its own.
fn joined(to: &Url, query: &str) -> String {
    let mark = match (query.is_empty(), to.query().is_some()) {
        (true, _) => "",
        (false, true) => "&",
        (false, false) => "?",
    };
    format!("{to}{mark}{query}")
}

/// The request with the query that it came with and what its signature put there: the receiver's own stands in its URL.
fn only_own_query(request: &WebhookRequest, to: &Url) -> WebhookRequest {
    let added = request.url.strip_prefix(to.as_str()).map(|rest| rest.trim_start_matches(['?', '&']).to_owned());
    let url = match added {
        Some(added) if !added.is_empty() => format!("?{added}"),
        _ => String::new(),
    };
    WebhookRequest { url, ..request.clone() }
}
