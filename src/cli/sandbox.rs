//! `integ sandbox`.

use clap::{Args, Subcommand};

use super::table::table;
use super::ui::{Render, Ui};
use crate::error::{Kind, Result};
use crate::ops::sandbox::{
    self as ops, AddFaultRequest, AdvanceSandboxRequest, RunEmulatorsRequest, SetSandboxRecordsRequest,
};
use crate::runtime::Workspace;
use crate::sandbox::{EmulatedEndpoint, Fault, FaultKind};
use crate::view::sandbox::{EmulatorView, FaultListView, FaultView, SandboxAdvanceView, SandboxRecordsView};

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
        /// Services to emulate
        #[arg(value_name = "CONNECTOR", required = true, add = super::complete::connectors())]
        connectors: Vec<String>,
        /// Authentication method to emulate (default: the connector's first)
        #[arg(long, value_name = "NAME")]
        auth: Option<String>,
        /// Port of the first service, the others use the next ones (default: any free ports)
        #[arg(long, value_name = "N")]
        port: Option<u16>,
    },
    /// Inject faults: rate_limit, expired_grant, revoked_grant, server_error, slow, malformed, truncated, expired_cursor,
    /// repeated_cursor
    Fault {
        /// Emulated service
        #[arg(add = super::complete::connectors())]
        connector: String,
        /// Fault to inject; lists the injected faults if none is given
        #[arg(value_name = "FAULT", conflicts_with = "clear", add = super::complete::faults())]
        kind: Option<FaultKind>,
        /// Only for this endpoint: token, refresh, revoke, health, action, stream… (default: every API call)
        #[arg(long, value_name = "ENDPOINT", add = super::complete::emulated_endpoints())]
        endpoint: Option<EmulatedEndpoint>,
        /// Number of requests that fail (default: all)
        #[arg(long, value_name = "N")]
        times: Option<u32>,
        /// Skip this many requests first
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u32,
        /// Seconds of a slow response, or to wait for a rate limit
        #[arg(long, value_name = "N")]
        seconds: Option<u32>,
        /// Remove all injected faults
        #[arg(long)]
        clear: bool,
    },
    /// Advance a service's data: each tick adds, changes and deletes a few records
    Advance {
        /// Sandbox connection or connector
        #[arg(value_name = "CONNECTION|CONNECTOR", add = super::complete::sandbox_sources())]
        service: String,
        /// Number of ticks
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        ticks: u32,
    },
    /// Set the number of records of a stream; for a child stream, per parent
    Data {
        /// Stream of a sandbox connection or connector
        #[arg(value_name = "CONNECTION|CONNECTOR/STREAM", add = super::complete::sandbox_streams())]
        stream: String,
        /// Number of records in each list
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=900_000))]
        records: u32,
    },
    /// Reset grants, faults and changes to records, of one service or of all
    Reset {
        /// Service to reset (default: all)
        #[arg(add = super::complete::connectors())]
        connector: Option<String>,
    },
}

impl Render for FaultListView {
    fn text(&self, ui: &Ui) -> String {
        if self.faults.is_empty() {
            return format!("No faults are injected for {}.", self.connector);
        }
        let row = |fault: &FaultView| {
            let endpoint = fault.endpoint.map_or("any", EmulatedEndpoint::as_str);
            let times = fault.times.map_or_else(|| "every time".to_owned(), |times| times.to_string());
            let after = if fault.after == 0 { String::new() } else { fault.after.to_string() };
            vec![fault.fault.as_str().into(), endpoint.into(), times.into(), after.into()]
        };
        table(ui, &["fault", "endpoint", "times left", "after"], self.faults.iter().map(row).collect())
    }
}

impl Render for SandboxAdvanceView {
    fn text(&self, _: &Ui) -> String {
        let ticks = if self.ticks == 1 { "tick has" } else { "ticks have" };
        format!("{} {ticks} passed for the emulated {}.", self.ticks, self.connector)
    }
}

impl Render for SandboxRecordsView {
    fn text(&self, _: &Ui) -> String {
        format!("Each list of {}/{} now starts with {} records.", self.connector, self.stream, self.records)
    }
}

impl Render for EmulatorView {
    fn text(&self, _: &Ui) -> String {
        let id = &self.connector;
        let origin = self.origin.trim_end_matches('/');
        let mut command = format!("integ connect {id} --origin {origin}");
        if !self.key.is_empty() {
            command.push_str(&format!(" --auth {} --with-token", self.auth));
        }
        let of_key = self.key.iter().filter(|(name, _)| self.token_field.as_ref() != Some(*name));
        for (name, value) in self.params.iter().chain(of_key) {
            command.push_str(&format!(" --param {name}={}", shlex::try_quote(value).unwrap_or_default()));
        }
        let keys: String = self.key.iter().map(|(name, value)| format!("  {name}: {value}\n")).collect();
        let with = if keys.is_empty() { "" } else { " with this key:" };
        format!("{id} is emulated at {origin}; `{command}` uses it{with}\n{keys}")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: SandboxArgs) -> Result<u8> {
    match args.command {
        SandboxCommand::Run { connectors, auth, port } => {
            return serve(workspace, ui, RunEmulatorsRequest { connectors, auth, port });
        }
        SandboxCommand::Fault { connector, kind, endpoint, times, after, seconds, clear } => {
            let faults = match kind {
                None if clear => workspace.run(ops::clear_faults(workspace, connector)),
                None => workspace.run(ops::list_faults(workspace, connector)),
                Some(kind) => {
                    let fault = Fault { endpoint, times, after, seconds, ..Fault::new(kind) };
                    workspace.run(ops::add_fault(workspace, AddFaultRequest { connector, fault }))
                }
            };
            ui.show(&faults?)?;
        }
        SandboxCommand::Advance { service, ticks } => {
            let connector = connector_of(&service).to_owned();
            ui.show(&workspace.run(ops::advance_sandbox(workspace, AdvanceSandboxRequest { connector, ticks }))?)?;
        }
        SandboxCommand::Data { stream, records } => {
            let (service, stream) = stream.split_once('/').unwrap_or((&stream, ""));
            let (connector, stream) = (connector_of(service).to_owned(), stream.to_owned());
            let request = SetSandboxRecordsRequest { connector, stream, records };
            ui.show(&workspace.run(ops::set_sandbox_records(workspace, request))?)?;
        }
        SandboxCommand::Reset { connector } => {
            let reset = workspace.run(ops::reset_sandbox(workspace, connector))?.services;
            let services = if reset == 1 { "service" } else { "services" };
            ui.note(&format!("Reset {reset} emulated {services}."));
        }
    }
    Ok(0)
}

/// The connector of a connection's name, or of its own.
fn connector_of(service: &str) -> &str {
    service.split('@').next().unwrap_or(service)
}

fn serve(workspace: &Workspace, ui: &Ui, request: RunEmulatorsRequest) -> Result<u8> {
    // What is being answered at the end is answered.
    workspace.run_to_end(async {
        let stop = async {
            ui.note("Ctrl-C ends it.");
            workspace.engine.shutdown.requested().await;
        };
        let on_start = |emulator: &EmulatorView| {
            if !ui.json {
                ui.raw(&emulator.text(ui));
            } else if let Ok(line) = serde_json::to_string(emulator) {
                ui.show_text(&line)?;
            }
            Ok(())
        };
        ops::run_emulators(workspace, request, stop, on_start).await?;
        Ok(Kind::Interrupted.exit_code())
    })
}
