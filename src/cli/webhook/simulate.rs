//! `integ webhook simulate`.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::super::table::table;
use super::super::ui::{Ui, View, escape, escape_lines};
use super::local_url::receiver_url;
use super::{WebhookArgumentError, read, read_secret};
use crate::connector::{Connector, Pointer, SignatureAlgorithm};
use crate::error::{Kind, Result};
use crate::http::{HttpError, Route, is_loopback, scrub};
use crate::model::{ConnectionMode, ConnectionName};
use crate::runtime::App;
use crate::secret::Secret;
use crate::signing::sign::EmulatorKeys;
use crate::signing::verify::SigningContext;
use crate::webhook::burst::{Burst, SentRequest, random_start};
use crate::webhook::corrupt::Corruption;
use crate::webhook::send::WebhookSender;
use crate::webhook::settings::{self, DEFAULT_PORT, WebhookSettings, rules};
use crate::{clock, env, hex};

/// Send an event that the service did not send, signed as it would sign it
///
/// Without an event, lists those there are. It goes to where `integ webhook listen` listens, unless --to says otherwise. With
/// --invalid the receiver must refuse: exit code 1 says that it took what it should not have. Exit code 5 says that nobody
/// listens there.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// A connection, or a connector
    #[arg(add = crate::cli::complete::webhook_sources())]
    source: String,
    #[arg(add = crate::cli::complete::webhook_events())]
    event: Option<String>,
    /// Where it goes: a URL of this machine, or an https one
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    to: Option<Url>,
    /// Another value at a place of the body: `data.object.amount=500`, `/data/0=x`, or := for JSON
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// A body of your own in place of the sample's, from a file, or from stdin with -
    #[arg(long, value_name = "FILE|-", conflicts_with = "set")]
    data: Option<String>,
    /// What to sign with, from a file, or from stdin with -
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// How many a second; one after another where not said
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Make them wrong
    #[arg(long, value_name = "FAULT")]
    invalid: Option<CorruptionArg>,
    /// Print the request and send nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CorruptionArg {
    /// Another signature
    Signature,
    /// Signed a day ago
    Timestamp,
    /// Signed a day ahead
    Future,
    /// The body changed after signing
    Body,
    /// Each sent twice, which a receiver takes and handles once
    Duplicate,
}

impl From<CorruptionArg> for Corruption {
    fn from(fault: CorruptionArg) -> Self {
        match fault {
            CorruptionArg::Signature => Self::Signature,
            CorruptionArg::Timestamp => Self::PastTimestamp,
            CorruptionArg::Future => Self::FutureTimestamp,
            CorruptionArg::Body => Self::Body,
            CorruptionArg::Duplicate => Self::Duplicate,
        }
    }
}

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(30);

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("{text:?} is no number of requests a second"))
}

#[derive(Serialize)]
struct SampleEventView {
    event: String,
    about: String,
}

#[derive(Serialize)]
struct SampleEventListView {
    connector: String,
    events: Vec<SampleEventView>,
}

impl View for SampleEventListView {
    fn text(&self, ui: &Ui) -> String {
        let row = |item: &SampleEventView| vec![item.event.clone().into(), item.about.clone().into()];
        table(ui, &["event", "what"], self.events.iter().map(row).collect())
    }
}

/// Who seems to send: whose events, by which keys, to where.
struct SimulationSource {
    connector: Connector,
    keys: SigningContext,
    vendor: EmulatorKeys,
    to: Option<Url>,
    signed_url: Option<Url>,
    /// Whether it is the vendor of a sandbox connection.
    is_sandbox: bool,
}

pub(super) fn run(app: &App, ui: &Ui, args: &SimulateArgs) -> Result<u8> {
    let Some(event) = &args.event else {
        let name = ui.project.resolve(&args.source)?;
        ui.show(&events(&app.catalogue.get(name.connector())?)?)?;
        return Ok(0);
    };
    let origin = origin(app, ui, args)?;
    let to = args.to.clone().or_else(|| origin.to.clone());
    let to = match to {
        Some(to) => to,
        None => Url::from_str(&format!("http://127.0.0.1:{DEFAULT_PORT}/"))
            .map_err(|_| WebhookArgumentError::Pair { text: "--to".to_owned() })?,
    };
    Route::Live.resolve(&to)?;
    let set = args.set.iter().map(|pair| setting(pair)).collect::<Result<Vec<_>, _>>()?;
    let data = args.data.as_deref().map(read).transpose()?;
    let volley = Burst {
        connector: &origin.connector,
        keys: &origin.keys,
        vendor: &origin.vendor,
        event,
        to: &to,
        signed_url: if args.to.is_some() { &to } else { origin.signed_url.as_ref().unwrap_or(&to) },
        set: &set,
        data: data.as_deref(),
        count: args.count,
        first_number: random_start(),
        rate: args.rate,
        corruption: args.invalid.map(Corruption::from),
        sandbox: Some(app).filter(|_| origin.is_sandbox && !args.dry_run),
    };
    if args.dry_run {
        return dry_run(app, ui, &volley);
    }
    if args.to.is_none() && !ui.json {
        ui.note(&format!("To {to}"));
    }
    app.run(send_all(app, ui, &volley))
}

async fn send_all(app: &App, ui: &Ui, volley: &Burst<'_>) -> Result<u8> {
    let sender = WebhookSender::new(&app.config, TIMEOUT);
    let refusal_wanted = volley.corruption.is_some_and(Corruption::should_be_rejected);
    let (mut sent, mut wrong, mut unreached) = (0_u64, 0_u64, 0_u64);
    let mut nobody = None;
    volley
        .send_all(&sender, &app.clock, |shot| {
            sent += 1;
            match &shot.response {
                Ok(answer) if answer.is_success() == refusal_wanted => wrong += 1,
                // A receiver that breaks has refused nothing.
                Ok(answer) if refusal_wanted && answer.status >= 500 => wrong += 1,
                Ok(_) => {}
                Err(error) => {
                    wrong += 1;
                    unreached += u64::from(matches!(error, HttpError::Connect { .. }));
                    nobody.get_or_insert_with(|| error.to_string());
                }
            }
            show(ui, volley, shot)
        })
        .await?;
    if sent > 1 {
        ui.note(&format!("{sent} sent, {} as wanted, {wrong} not.", sent - wrong));
    }
    if let (Some(why), true) = (&nobody, is_loopback(volley.to)) {
        ui.note(&format!("{why}; hint: integ webhook listen {}", volley.connector.id));
    } else if wrong > 0 && refusal_wanted {
        ui.note("The receiver took what it should have refused.");
    }
    Ok(match wrong {
        0 => 0,
        _ if wrong == unreached => Kind::Temporary.exit_code(),
        _ => Kind::Failed.exit_code(),
    })
}

fn show(ui: &Ui, volley: &Burst<'_>, shot: &SentRequest) -> Result<()> {
    let fault = volley.corruption.map(Corruption::as_str);
    match &shot.response {
        Ok(answer) => {
            let millis = answer.duration.as_secs_f64() * 1000.0;
            if ui.json {
                ui.show_line(&json!({
                    "event": "sent", "n": shot.number, "type": volley.event, "delivery_id": shot.delivery_id,
                    "invalid": fault, "status": answer.status, "duration": answer.duration.as_secs_f64(),
                    "answer": answer.document(),
                }))?;
            } else {
                let said = answer.error_message().filter(|_| !answer.is_success());
                let said = said.map(|said| format!("  {}", escape(&said))).unwrap_or_default();
                let word = if answer.is_success() { "taken" } else { "refused" };
                ui.raw(&format!("{}  {} {word}  {millis:.1} ms{said}\n", volley.event, answer.status));
            }
        }
        Err(error) if ui.json => ui.show_line(&json!({
            "event": "sent", "n": shot.number, "type": volley.event, "delivery_id": shot.delivery_id,
            "invalid": fault, "status": null, "error": error.to_string(),
        }))?,
        Err(error) => ui.raw(&format!("{}  no answer: {}\n", volley.event, escape(&error.to_string()))),
    }
    Ok(())
}

fn events(connector: &Connector) -> Result<SampleEventListView> {
    rules(connector)?;
    let sampled = connector.events.iter().filter(|(_, event)| event.sample.is_some());
    let item = |(event, known): (&String, &crate::connector::EventDefinition)| SampleEventView {
        event: event.clone(),
        about: known.about.clone(),
    };
    Ok(SampleEventListView { connector: connector.id.clone(), events: sampled.map(item).collect() })
}

fn origin(app: &App, ui: &Ui, args: &SimulateArgs) -> Result<SimulationSource> {
    let name = ui.project.resolve(&args.source)?;
    let given = args.secret_file.as_deref().map(read_secret).transpose()?;
    if let Some(mut setup) = connected(app, &name)? {
        let port = setup.stored.port.unwrap_or(DEFAULT_PORT);
        let (to, signed_url) = (Some(setup.local_url(port)?), Some(setup.url(port)?));
        take_secret(&setup.connector, given, &mut setup.keys, &mut setup.vendor);
        let is_sandbox = setup.connection.mode == ConnectionMode::Sandbox;
        let (keys, vendor) = (setup.keys, setup.vendor);
        return Ok(SimulationSource { connector: setup.connector, keys, vendor, to, signed_url, is_sandbox });
    }
    let connector = app.catalogue.get(name.connector())?;
    let seed = if app.has_vault() { app.sandbox_seed()? } else { clock::random::<32>().to_vec() };
    let known = given.is_some() || env::var_os(&env::WEBHOOK_SECRET).is_some();
    let (mut keys, mut vendor) =
        settings::keys_without_connection(&connector, &seed, env::secret(&env::WEBHOOK_SECRET))?;
    take_secret(&connector, given, &mut keys, &mut vendor);
    if !known && !keys.secrets.is_empty() {
        ui.note("Signed with a secret that was made up: --secret-file or INTEG_WEBHOOK_SECRET gives the receiver's.");
    }
    Ok(SimulationSource { connector, keys, vendor, to: None, signed_url: None, is_sandbox: false })
}

/// The connection of this name; absent where it names a connector alone.
fn connected(app: &App, name: &ConnectionName) -> Result<Option<WebhookSettings>> {
    let known = app.has_vault() && app.store()?.connections().find(name)?.is_some();
    if known || name.account().is_some() { WebhookSettings::load(app, name).map(Some) } else { Ok(None) }
}

/// Puts the secret of `--secret-file` in place of the others; of a key pair that is the private half.
fn take_secret(connector: &Connector, given: Option<Secret>, keys: &mut SigningContext, vendor: &mut EmulatorKeys) {
    let Some(secret) = given else { return };
    let proofs = connector.webhook.iter().flat_map(|rules| &rules.proofs);
    if proofs.into_iter().any(|proof| proof.scheme == SignatureAlgorithm::Ed25519) {
        vendor.ed25519_seed = hex::decode(secret.expose()).map(Secret::new);
    }
    keys.secrets = vec![secret];
}

/// `data.object.amount=500`, `/data/0=x`, `tags:=["a"]`.
fn setting(pair: &str) -> Result<(Pointer, Value), WebhookArgumentError> {
    let wrong = || WebhookArgumentError::Pair { text: pair.to_owned() };
    let (path, text) = pair.split_once('=').ok_or_else(wrong)?;
    let (path, value) = match path.strip_suffix(':') {
        Some(path) => (path, serde_json::from_str(text).map_err(|_| wrong())?),
        None => (path, Value::String(text.to_owned())),
    };
    let pointer = if path.starts_with('/') {
        path.to_owned()
    } else {
        path.split('.').map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
    };
    Ok((Pointer::parse(&pointer).map_err(|_| wrong())?, value))
}

#[derive(Serialize)]
struct SimulatedRequestView {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl View for SimulatedRequestView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![format!("{} {}", self.method, escape(&self.url))];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{}: {}", escape(name), escape(value))));
        lines.extend([String::new(), escape_lines(&self.body)]);
        lines.join("\n")
    }
}

/// The request as it would go, without the secret where that is what stands in it.
fn dry_run(app: &App, ui: &Ui, volley: &Burst<'_>) -> Result<u8> {
    let request = volley.build(1, &app.clock)?.request;
    let shown = |text: &str| scrub(text, &volley.keys.secrets);
    let mut url = volley.to.clone();
    if let Some((_, query)) = request.url.split_once('?') {
        url.set_query(Some(query));
    }
    ui.show(&SimulatedRequestView {
        method: request.method.clone(),
        url: shown(url.as_str()),
        headers: request.headers.iter().map(|(name, value)| (name.clone(), shown(value))).collect(),
        body: shown(&String::from_utf8_lossy(&request.body)),
    })?;
    Ok(0)
}
