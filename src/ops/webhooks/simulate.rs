//! Sends events as a vendor would, signed with the receiver's secret.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::connector::{Connector, EventDefinition, Pointer, SignatureAlgorithm};
use crate::error::Result;
use crate::http::{HttpError, Route, scrub};
use crate::model::{ConnectionMode, ConnectionName, matches_type};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::signing::sign::EmulatorKeys;
use crate::signing::verify::SigningContext;
use crate::view::webhook::{SampleEventListView, SentEventView, SimulatedRequestView, WebhookEventTypeView};
use crate::webhook::settings::{self, DEFAULT_PORT, WebhookSettings, WebhookSettingsError, rules};
use crate::webhook::simulate::burst::{Burst, SentRequest, random_start};
use crate::webhook::simulate::corrupt::Corruption;
use crate::webhook::simulate::send::WebhookSender;
use crate::{clock, env, hex};

/// Time limit for a receiver.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The events to send.
#[derive(Clone, Debug)]
pub struct SimulateEventsRequest {
    /// A connection, or the name of a connector.
    pub source: ConnectionName,
    /// One of the connector's event types, or a pattern such as `invoice.*`: one of each that it covers.
    pub event: String,
    /// https, or http on this machine; where `webhook listen` listens if absent.
    pub to: Option<Url>,
    /// Places in the body and their new values.
    pub set: Vec<(Pointer, Value)>,
    /// A body to use instead of the sample's.
    pub data: Option<Vec<u8>>,
    /// The signing secret; if absent, the connection's, then `INTEG_WEBHOOK_SECRET`, then a generated one.
    pub secret: Option<Secret>,
    pub count: u64,
    /// Requests a second; one after another if absent.
    pub rate: Option<f64>,
    pub corruption: Option<Corruption>,
}

/// Where simulated events go.
#[derive(Clone, Debug)]
pub struct SimulationTarget {
    pub to: Url,
    /// Whether they are signed with a generated secret, which no receiver knows.
    pub is_secret_generated: bool,
}

/// The receiver's results.
#[derive(Clone, Debug)]
pub struct SimulationResult {
    pub connector: String,
    pub to: Url,
    pub sent: u64,
    /// Requests with a response that a correct receiver would not give, or without a response.
    pub unexpected: u64,
    /// Requests that could not be delivered.
    pub unreached: u64,
    /// The error of the first request without a response.
    pub first_error: Option<String>,
}

/// Observes the simulation.
pub trait SimulationObserver {
    /// Everything is ready; nothing has been sent yet.
    fn starts(&mut self, target: &SimulationTarget);

    /// A request got a response, or failed.
    ///
    /// # Errors
    /// An error ends the simulation.
    fn sent(&mut self, event: SentEventView) -> Result<()>;
}

/// Returns the event types that a connector has a sample of.
///
/// # Errors
/// [`WebhookSettingsError::NoWebhook`].
pub async fn list_sample_events(workspace: &Workspace, source: &ConnectionName) -> Result<SampleEventListView> {
    let connector = workspace.catalogue().get(source.connector())?;
    rules(&connector)?;
    let sampled = connector.events.iter().filter(|(_, event)| event.sample.is_some());
    let item = |(event, known): (&String, &EventDefinition)| WebhookEventTypeView {
        event: event.clone(),
        about: known.about.clone(),
    };
    Ok(SampleEventListView { connector: connector.id.clone(), events: sampled.map(item).collect() })
}

/// Returns the first request that [`simulate_events`] would send, without the secret if the request holds it.
///
/// # Errors
/// As [`simulate_events`].
pub async fn preview_simulation(
    workspace: &Workspace,
    request: SimulateEventsRequest,
    observer: &mut impl SimulationObserver,
) -> Result<SimulatedRequestView> {
    let source = SimulationSource::load(workspace, &request).await?;
    let kinds = source.kinds(&request.event);
    let burst = source.burst(&request, kinds[0], None);
    let made = burst.build(1, &workspace.clock).await?.request;
    observer.starts(&source.target());
    let shown = |text: &str| scrub(text, &burst.keys.secrets);
    let mut url = source.to.clone();
    if let Some((_, query)) = made.url.split_once('?') {
        url.set_query(Some(query));
    }
    Ok(SimulatedRequestView {
        method: made.method.clone(),
        url: shown(url.as_str()),
        headers: made.headers.iter().map(|(name, value)| (name.clone(), shown(value))).collect(),
        body: shown(&String::from_utf8_lossy(&made.body)),
    })
}

/// Sends events, and returns the receiver's results.
///
/// # Errors
/// Events that cannot be created, corruptions that no receiver could detect, disallowed URLs. Rejections and failures
/// of the receiver are in the result.
pub async fn simulate_events(
    workspace: &Workspace,
    request: SimulateEventsRequest,
    observer: &mut impl SimulationObserver,
) -> Result<SimulationResult> {
    let source = SimulationSource::load(workspace, &request).await?;
    let kinds = source.kinds(&request.event);
    // What cannot be made is found before anything is said or remembered.
    for kind in &kinds {
        source.burst(&request, kind, None).build(1, &workspace.clock).await?;
    }
    observer.starts(&source.target());
    let should_be_rejected = request.corruption.is_some_and(Corruption::should_be_rejected);
    let mut result = SimulationResult {
        connector: source.connector.id.clone(),
        to: source.to.clone(),
        sent: 0,
        unexpected: 0,
        unreached: 0,
        first_error: None,
    };
    let sender = WebhookSender::new(&workspace.engine.config, TIMEOUT);
    for kind in kinds {
        let burst = source.burst(&request, kind, Some(workspace).filter(|_| source.is_sandbox));
        let sending = burst.send_all(&sender, &workspace.clock, |sent| {
            result.count(sent, should_be_rejected);
            observer.sent(SentEventView::new(kind, request.corruption, sent))
        });
        sending.await?;
    }
    Ok(result)
}

impl SimulationResult {
    fn count(&mut self, sent: &SentRequest, should_be_rejected: bool) {
        self.sent += 1;
        match &sent.response {
            Ok(response) if response.is_success() == should_be_rejected => self.unexpected += 1,
            // A receiver that breaks has refused nothing.
            Ok(response) if should_be_rejected && response.status >= 500 => self.unexpected += 1,
            Ok(_) => {}
            Err(error) => {
                self.unexpected += 1;
                self.unreached += u64::from(matches!(error, HttpError::Connect { .. }));
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// The simulated sender: its events, keys and target.
struct SimulationSource {
    connector: Arc<Connector>,
    keys: SigningContext,
    vendor: EmulatorKeys,
    to: Url,
    /// The URL that the signature covers.
    signed_url: Url,
    /// Whether it is the vendor of a sandbox connection.
    is_sandbox: bool,
    is_secret_generated: bool,
}

impl SimulationSource {
    async fn load(workspace: &Workspace, request: &SimulateEventsRequest) -> Result<Self> {
        let source = match connected(workspace, &request.source).await? {
            Some(settings) => Self::of_connection(settings, request)?,
            None => Self::of_connector(workspace, request).await?,
        };
        Route::Live.resolve(&source.to)?;
        Ok(source)
    }

    fn of_connection(mut settings: WebhookSettings, request: &SimulateEventsRequest) -> Result<Self> {
        let port = settings.stored.port.unwrap_or(DEFAULT_PORT);
        let (to, signed_url) = match &request.to {
            Some(to) => (to.clone(), to.clone()),
            None => (settings.local_url(port)?, settings.url(port)?),
        };
        replace_secret(&settings.connector, request.secret.clone(), &mut settings.keys, &mut settings.vendor);
        Ok(Self {
            is_sandbox: settings.connection.mode == ConnectionMode::Sandbox,
            connector: settings.connector,
            keys: settings.keys,
            vendor: settings.vendor,
            to,
            signed_url,
            is_secret_generated: false,
        })
    }

    async fn of_connector(workspace: &Workspace, request: &SimulateEventsRequest) -> Result<Self> {
        let connector = workspace.catalogue().get(request.source.connector())?;
        let seed = if workspace.has_vault() { workspace.sandbox_seed().await? } else { clock::random::<32>().to_vec() };
        let from_environment = env::secret(&env::WEBHOOK_SECRET);
        let is_known = request.secret.is_some() || from_environment.is_some();
        let (mut keys, mut vendor) = settings::keys_without_connection(&connector, &seed, from_environment)?;
        replace_secret(&connector, request.secret.clone(), &mut keys, &mut vendor);
        let to = match &request.to {
            Some(to) => to.clone(),
            None => {
                let url = format!("http://127.0.0.1:{DEFAULT_PORT}/");
                Url::parse(&url).map_err(|_| WebhookSettingsError::InvalidPublicUrl { url })?
            }
        };
        Ok(Self {
            is_secret_generated: !is_known && !keys.secrets.is_empty(),
            connector,
            keys,
            vendor,
            signed_url: to.clone(),
            to,
            is_sandbox: false,
        })
    }

    /// The types with a sample that a pattern covers; the pattern itself if there is none.
    fn kinds<'a>(&'a self, pattern: &'a str) -> Vec<&'a str> {
        let events = self.connector.events.iter();
        let sampled = events.filter(|(kind, event)| event.sample.is_some() && matches_type(pattern, kind));
        let kinds: Vec<&str> = sampled.map(|(kind, _)| kind.as_str()).collect();
        if kinds.is_empty() { vec![pattern] } else { kinds }
    }

    fn burst<'a>(
        &'a self,
        request: &'a SimulateEventsRequest,
        event: &'a str,
        sandbox: Option<&'a Workspace>,
    ) -> Burst<'a> {
        Burst {
            connector: &self.connector,
            keys: &self.keys,
            vendor: &self.vendor,
            event,
            to: &self.to,
            signed_url: &self.signed_url,
            set: &request.set,
            data: request.data.as_deref(),
            count: request.count,
            first_number: random_start(),
            rate: request.rate,
            corruption: request.corruption,
            sandbox,
        }
    }

    fn target(&self) -> SimulationTarget {
        SimulationTarget { to: self.to.clone(), is_secret_generated: self.is_secret_generated }
    }
}

/// The connection of this name; absent if it names a connector alone.
async fn connected(workspace: &Workspace, name: &ConnectionName) -> Result<Option<WebhookSettings>> {
    let is_known = workspace.connection_names().await?.contains(name);
    if is_known || name.account().is_some() { WebhookSettings::load(workspace, name).await.map(Some) } else { Ok(None) }
}

/// Signs with this secret alone; of a key pair it is the private half.
fn replace_secret(connector: &Connector, secret: Option<Secret>, keys: &mut SigningContext, vendor: &mut EmulatorKeys) {
    let Some(secret) = secret else { return };
    let mut proofs = connector.webhook.iter().flat_map(|rules| &rules.proofs);
    if proofs.any(|proof| proof.scheme == SignatureAlgorithm::Ed25519) {
        vendor.ed25519_seed = hex::decode(secret.expose()).map(Secret::new);
    }
    keys.secrets = vec![secret];
}
