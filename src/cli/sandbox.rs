//! `integ sandbox`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use super::table::table;
use super::ui::{Ui, View};
use crate::connector::{AuthMethod, Connector};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::runtime::{App, state_key};
use crate::sandbox::{EmulatedEndpoint, Fault, FaultKind, SandboxState, sandbox_fields, sandbox_params};
use crate::secret::Secret;

/// Use services without an account: emulations built from the connectors' files
#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    #[command(subcommand)]
    command: SandboxCommand,
}

impl SandboxArgs {
    /// Whether it may make the workspace that it works in.
    pub(super) fn makes_workspace(&self) -> bool {
        !matches!(self.command, SandboxCommand::Reset { .. })
    }
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// Serve emulated services until Ctrl-C, for your own programs and `connect --origin`
    Run {
        #[arg(required = true, add = super::complete::connectors())]
        connectors: Vec<String>,
        /// The way of authenticating to emulate; the usual one where none is named
        #[arg(long, value_name = "NAME")]
        auth: Option<String>,
        /// The port of the first; the others follow
        #[arg(long, value_name = "N")]
        port: Option<u16>,
    },
    /// Script trouble: rate_limit, expired_grant, revoked_grant, server_error, slow, malformed, truncated, expired_cursor,
    /// repeated_cursor
    Fault {
        #[arg(add = super::complete::connectors())]
        connector: String,
        /// What goes wrong; lists what is scripted where none is named
        #[arg(value_name = "FAULT", conflicts_with = "clear")]
        kind: Option<FaultKind>,
        /// Only at this endpoint: token, refresh, revoke, health, action, stream…
        #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
        endpoint: Option<EmulatedEndpoint>,
        /// How many requests meet it; all where not said
        #[arg(long, value_name = "N")]
        times: Option<u32>,
        /// How many requests are spared before
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u32,
        /// How late a slow answer is, or what a rate limit says to wait
        #[arg(long, value_name = "N")]
        seconds: Option<u32>,
        /// Drop all scripted faults
        #[arg(long)]
        clear: bool,
    },
    /// Let time pass for the records that a service has: each tick adds, changes and deletes a few
    Advance {
        #[arg(value_name = "CONNECTION|CONNECTOR", add = super::complete::sandbox_sources())]
        service: String,
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        ticks: u32,
    },
    /// Say how many records a stream has: of children, for each parent
    Data {
        #[arg(value_name = "CONNECTION|CONNECTOR/STREAM", add = super::complete::sandbox_streams())]
        stream: String,
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=900_000))]
        records: u32,
    },
    /// Forget rotated and revoked grants, faults, and what time and size did to records, of one service or of all
    Reset {
        #[arg(add = super::complete::connectors())]
        connector: Option<String>,
    },
}

fn endpoint(text: &str) -> Result<EmulatedEndpoint, String> {
    let found = EmulatedEndpoint::ALL.into_iter().find(|endpoint| endpoint.as_str() == text);
    found.ok_or_else(|| {
        format!("{text:?} is none of {}", EmulatedEndpoint::ALL.map(EmulatedEndpoint::as_str).join(", "))
    })
}

#[derive(Serialize)]
struct FaultView {
    fault: &'static str,
    endpoint: Option<&'static str>,
    times: Option<u32>,
    after: u32,
    seconds: Option<u32>,
}

#[derive(Serialize)]
struct FaultListView {
    connector: String,
    faults: Vec<FaultView>,
}

impl View for FaultListView {
    fn text(&self, ui: &Ui) -> String {
        if self.faults.is_empty() {
            return format!("No faults are scripted for {}.", self.connector);
        }
        let row = |fault: &FaultView| {
            let times = fault.times.map_or_else(|| "every time".to_owned(), |times| times.to_string());
            let after = if fault.after == 0 { String::new() } else { fault.after.to_string() };
            vec![fault.fault.into(), fault.endpoint.unwrap_or("any").into(), times.into(), after.into()]
        };
        table(ui, &["fault", "endpoint", "times left", "after"], self.faults.iter().map(row).collect())
    }
}

#[derive(Serialize)]
struct StreamAdvanceView {
    connector: String,
    /// All that have passed.
    ticks: u32,
}

impl View for StreamAdvanceView {
    fn text(&self, _: &Ui) -> String {
        let ticks = if self.ticks == 1 { "tick has" } else { "ticks have" };
        format!("{} {ticks} passed for the emulated {}.", self.ticks, self.connector)
    }
}

#[derive(Serialize)]
struct StreamSizeView {
    connector: String,
    stream: String,
    records: u32,
}

impl View for StreamSizeView {
    fn text(&self, _: &Ui) -> String {
        format!("Each list of {}/{} begins with {} records.", self.connector, self.stream, self.records)
    }
}

#[derive(Debug, Error)]
#[error("{connector} has no stream {stream:?}")]
struct SandboxStreamNotFound {
    connector: String,
    stream: String,
    known: Vec<String>,
}

impl SandboxStreamNotFound {
    fn new(connector: &Connector, stream: &str) -> Self {
        let known = connector.streams.keys().map(|name| format!("{}/{name}", connector.id)).collect();
        Self { connector: connector.id.clone(), stream: stream.to_owned(), known }
    }
}

impl Remedy for SandboxStreamNotFound {
    fn diagnostic(&self) -> Diagnostic {
        let known = (!self.known.is_empty()).then(|| Hint::text(self.known.join(", ")));
        Diagnostic::new(Kind::NotFound, "unknown_stream").maybe_hint(known)
    }
}

#[derive(Debug, Error)]
#[error("the sandbox's state of {connector} cannot be written")]
struct SandboxStateError {
    connector: String,
    source: serde_json::Error,
}

impl Remedy for SandboxStateError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Failed, "sandbox_state").run(format!("integ sandbox reset {}", self.connector))
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: SandboxArgs) -> Result<u8> {
    match args.command {
        SandboxCommand::Run { connectors, auth, port } => serve(app, ui, &connectors, auth.as_deref(), port),
        SandboxCommand::Fault { connector, kind, endpoint, times, after, seconds, clear } => {
            app.catalogue.text(&connector)?;
            let fault = kind.map(|kind| Fault { endpoint, times, after, seconds, ..Fault::new(kind) });
            ui.show(&change_faults(app, &connector, fault, clear)?)?;
            Ok(0)
        }
        SandboxCommand::Advance { service, ticks } => {
            let connector = connector_of(&service);
            app.catalogue.text(connector)?;
            let (ticks, _) = change(app, connector, |state| state.advance(ticks, app.clock.now()))?;
            ui.show(&StreamAdvanceView { connector: connector.to_owned(), ticks })?;
            Ok(0)
        }
        SandboxCommand::Data { stream, records } => {
            let (service, name) = stream.split_once('/').unwrap_or((&stream, ""));
            let connector = app.catalogue.get(connector_of(service))?;
            if !connector.streams.contains_key(name) {
                return Err(SandboxStreamNotFound::new(&connector, name).into());
            }
            change(app, &connector.id, |state| state.set_records(name, records))?;
            ui.show(&StreamSizeView { connector: connector.id, stream: name.to_owned(), records })?;
            Ok(0)
        }
        SandboxCommand::Reset { connector } => {
            let forgotten = if app.has_vault() { App::sandbox_reset(app.store()?, connector.as_deref())? } else { 0 };
            let services = if forgotten == 1 { "service" } else { "services" };
            ui.note(&format!("Forgot the state of {forgotten} emulated {services}."));
            Ok(0)
        }
    }
}

/// The connector of a connection's name, or of its own.
fn connector_of(service: &str) -> &str {
    service.split('@').next().unwrap_or(service)
}

/// Changes a service's state inside one transaction.
fn change<T>(app: &App, connector: &str, how: impl FnOnce(&mut SandboxState) -> T) -> Result<(T, SandboxState)> {
    let changed = app.store_or_new()?.sandbox().update(&state_key(connector), |document| {
        let mut state: SandboxState =
            document.take().and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
        let done = how(&mut state);
        let written: Result<Value, _> = serde_json::to_value(&state);
        written.map(|value| {
            *document = Some(value);
            (done, state)
        })
    })?;
    Ok(changed.map_err(|source| SandboxStateError { connector: connector.to_owned(), source })?)
}

fn change_faults(app: &App, connector: &str, fault: Option<Fault>, clear: bool) -> Result<FaultListView> {
    let ((), state) = change(app, connector, |state| {
        if clear {
            state.clear_faults();
        }
        if let Some(fault) = fault {
            state.add_fault(fault);
        }
    })?;
    let view = |fault: &Fault| FaultView {
        fault: fault.kind.as_str(),
        endpoint: fault.endpoint.map(EmulatedEndpoint::as_str),
        times: fault.times,
        after: fault.after,
        seconds: fault.seconds,
    };
    Ok(FaultListView { connector: connector.to_owned(), faults: state.faults().iter().map(view).collect() })
}

/// An emulated service, and what it takes to connect to it. A sandbox's key opens nothing else.
struct ServingView<'a> {
    connector: &'a Connector,
    origin: &'a Url,
    auth_name: &'a str,
    auth: &'a AuthMethod,
    params: &'a BTreeMap<String, String>,
    key: &'a BTreeMap<String, Secret>,
}

impl ServingView<'_> {
    fn json(&self) -> Value {
        let mut line = json!({ "event": "serving", "connector": self.connector.id, "origin": self.origin.as_str() });
        let params = self.needed_params();
        if !params.is_empty() {
            line["params"] = params.into_iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        }
        if !self.key.is_empty() {
            line["key"] = self.key.iter().map(|(name, value)| (name.clone(), json!(value.expose()))).collect();
        }
        line
    }

    fn text(&self) -> String {
        let id = &self.connector.id;
        let origin = self.origin.as_str().trim_end_matches('/');
        let mut command = format!("integ connect {id} --origin {origin}");
        if !self.key.is_empty() {
            command.push_str(&format!(" --auth {} --with-token", self.auth_name));
        }
        let mut param = |name: &str, value: &str| {
            command.push_str(&format!(" --param {name}={}", shlex::try_quote(value).unwrap_or_default()));
        };
        self.needed_params().into_iter().for_each(|(name, value)| param(name, value));
        let mut keys = String::new();
        for (name, value) in self.key {
            keys.push_str(&format!("  {name}: {}\n", value.expose()));
            if self.auth.token_field() != Some(name) {
                param(name, value.expose());
            }
        }
        let with = if keys.is_empty() { "" } else { " with this key:" };
        format!("{id} is emulated at {origin}; `{command}` uses it{with}\n{keys}")
    }

    /// The parameters that `connect` does not know by itself.
    fn needed_params(&self) -> Vec<(&String, &String)> {
        let default =
            |name: &str| self.connector.params(self.auth).find(|(known, _)| *known == name)?.1.default.as_ref();
        self.params.iter().filter(|(name, value)| default(name) != Some(*value)).collect()
    }
}

fn serve(app: &App, ui: &Ui, connectors: &[String], auth: Option<&str>, port: Option<u16>) -> Result<u8> {
    app.store_or_new()?;
    app.run(async {
        let _hold = app.shutdown.hold();
        let mut running = Vec::new();
        for (index, id) in connectors.iter().enumerate() {
            let connector = app.catalogue.get(id)?;
            let (name, way) = connector.auth_method(auth)?;
            let params: BTreeMap<String, String> = sandbox_params(&connector, way);
            let offset = u16::try_from(index).unwrap_or(u16::MAX);
            let started =
                app.start_emulator(&connector, name, &params, port.map(|port| port.saturating_add(offset)))?;
            let key = &sandbox_fields(&connector, way, &app.sandbox_seed()?);
            let (origin, params) = (&started.origin, &params);
            let serving = ServingView { connector: &connector, origin, auth_name: name, auth: way, params, key };
            if ui.json {
                ui.show_line(&serving.json())?;
            } else {
                ui.raw(&serving.text());
            }
            running.push(started);
        }
        ui.note("Ctrl-C ends it.");
        app.shutdown.requested().await;
        Ok(Kind::Interrupted.exit_code())
    })
}
