//! Operations on the sandbox: emulated services, their faults and their records.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use super::{Effect, Operation, OperationScope, Reach};
use crate::connector::Connector;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::runtime::{Workspace, state_key};
use crate::sandbox::{Fault, RunningEmulator, SandboxState, sandbox_fields, sandbox_params};
use crate::view::sandbox::{
    EmulatorEvent, EmulatorView, FaultListView, FaultView, SandboxAdvanceView, SandboxRecordsView, SandboxResetView,
};

const fn operation(name: &'static str, effect: Effect, reach: Reach) -> Operation {
    Operation::local(name, OperationScope::Sandbox, effect).reachable_by(reach)
}

/// The operations of this module. `sandbox fault` without a fault only lists them.
pub const OPERATIONS: &[Operation] = &[
    operation("sandbox run", Effect::Write, Reach::Local),
    operation("sandbox fault", Effect::Write, Reach::Api),
    operation("sandbox advance", Effect::Write, Reach::Api),
    operation("sandbox data", Effect::Write, Reach::Api),
    operation("sandbox reset", Effect::Destroy, Reach::Api),
];

/// Why an operation on the sandbox failed.
#[derive(Debug, Error)]
pub enum SandboxError {
    #[error("{connector} has no stream {stream:?}")]
    StreamNotFound { connector: String, stream: String, known: Vec<String> },
    #[error("the sandbox's state of {connector} cannot be written")]
    InvalidState { connector: String, source: serde_json::Error },
}

impl SandboxError {
    fn stream_not_found(connector: &Connector, stream: &str) -> Self {
        let known = connector.streams.keys().map(|name| format!("{}/{name}", connector.id)).collect();
        Self::StreamNotFound { connector: connector.id.clone(), stream: stream.to_owned(), known }
    }
}

impl Remedy for SandboxError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::StreamNotFound { known, .. } => {
                let known = (!known.is_empty()).then(|| Hint::text(known.join(", ")));
                Diagnostic::new(Kind::NotFound, "unknown_stream").maybe_hint(known)
            }
            Self::InvalidState { connector, .. } => {
                Diagnostic::new(Kind::Failed, "sandbox_state").run(format!("integ sandbox reset {connector}"))
            }
        }
    }
}

/// Which services to emulate.
#[derive(Clone, Debug)]
pub struct RunEmulatorsRequest {
    pub connectors: Vec<String>,
    /// The name of the authentication method to emulate; each connector's usual one if absent.
    pub auth: Option<String>,
    /// The port of the first, the others follow; any free ports if absent.
    pub port: Option<u16>,
}

/// Emulates services on loopback until `stop` is ready, in a new workspace if need be. `on_start` sees each emulator once it
/// answers; `stop` is not polled before all answer.
///
/// # Errors
/// Those of `on_start`, unknown connectors and authentication methods, and ports that are in use.
pub async fn run_emulators(
    workspace: &Workspace,
    request: RunEmulatorsRequest,
    stop: impl Future<Output = ()>,
    mut on_start: impl FnMut(&EmulatorView) -> Result<()>,
) -> Result<()> {
    workspace.store_or_new()?;
    let mut running = Vec::new();
    for (index, id) in request.connectors.iter().enumerate() {
        let offset = u16::try_from(index).unwrap_or(u16::MAX);
        let port = request.port.map(|port| port.saturating_add(offset));
        let (emulator, view) = start_emulator(workspace, id, request.auth.as_deref(), port)?;
        on_start(&view)?;
        running.push(emulator);
    }
    stop.await;
    Ok(())
}

fn start_emulator(
    workspace: &Workspace,
    id: &str,
    auth: Option<&str>,
    port: Option<u16>,
) -> Result<(RunningEmulator, EmulatorView)> {
    let connector = workspace.engine.catalogue.get(id)?;
    let (name, auth) = connector.auth_method(auth)?;
    let mut params: BTreeMap<String, String> = sandbox_params(&connector, auth);
    let emulator = workspace.start_emulator(&connector, name, &params, port)?;
    let key = sandbox_fields(&connector, auth, &workspace.sandbox_seed()?);
    params.retain(|name, value| {
        let declared = connector.params(auth).find(|(known, _)| *known == name.as_str());
        declared.is_none_or(|(_, param)| param.default.as_ref() != Some(value))
    });
    let view = EmulatorView {
        event: EmulatorEvent::Serving,
        connector: connector.id.clone(),
        origin: emulator.origin.to_string(),
        params,
        key: key.into_iter().map(|(name, value)| (name, value.expose().clone())).collect(),
        auth: name.to_owned(),
        token_field: auth.token_field().map(ToOwned::to_owned),
    };
    Ok((emulator, view))
}

/// Lists the faults scripted for an emulated service.
///
/// # Errors
/// Unknown connectors.
pub async fn list_faults(workspace: &Workspace, connector: String) -> Result<FaultListView> {
    workspace.engine.catalogue.text(&connector)?;
    let document = if workspace.has_vault() { workspace.store()?.sandbox().get(&state_key(&connector))? } else { None };
    let state = document.map(read_state).unwrap_or_default();
    Ok(fault_list(connector, &state))
}

/// A fault to script.
#[derive(Clone, Debug)]
pub struct AddFaultRequest {
    pub connector: String,
    pub fault: Fault,
}

/// Scripts a fault behind those there are, in a new workspace if need be, and lists them all.
///
/// # Errors
/// Unknown connectors.
pub async fn add_fault(workspace: &Workspace, request: AddFaultRequest) -> Result<FaultListView> {
    workspace.engine.catalogue.text(&request.connector)?;
    let ((), state) = change_state(workspace, &request.connector, |state| state.add_fault(request.fault))?;
    Ok(fault_list(request.connector, &state))
}

/// Drops all faults scripted for an emulated service.
///
/// # Errors
/// Unknown connectors.
pub async fn clear_faults(workspace: &Workspace, connector: String) -> Result<FaultListView> {
    workspace.engine.catalogue.text(&connector)?;
    let (_, state) = change_state(workspace, &connector, SandboxState::clear_faults)?;
    Ok(fault_list(connector, &state))
}

fn fault_list(connector: String, state: &SandboxState) -> FaultListView {
    FaultListView { connector, faults: state.faults().iter().map(FaultView::from).collect() }
}

/// Time to let pass for an emulated service.
#[derive(Clone, Debug)]
pub struct AdvanceSandboxRequest {
    pub connector: String,
    /// Each adds, changes and deletes a few records.
    pub ticks: u32,
}

/// Lets time pass for the records of an emulated service, in a new workspace if need be.
///
/// # Errors
/// Unknown connectors.
pub async fn advance_sandbox(workspace: &Workspace, request: AdvanceSandboxRequest) -> Result<SandboxAdvanceView> {
    let AdvanceSandboxRequest { connector, ticks } = request;
    workspace.engine.catalogue.text(&connector)?;
    let (ticks, _) = change_state(workspace, &connector, |state| state.advance(ticks, workspace.engine.clock.now()))?;
    Ok(SandboxAdvanceView { connector, ticks })
}

/// The size of an emulated stream.
#[derive(Clone, Debug)]
pub struct SetSandboxRecordsRequest {
    pub connector: String,
    pub stream: String,
    /// Of each list, before any tick.
    pub records: u32,
}

/// Sets how many records an emulated stream has, in a new workspace if need be.
///
/// # Errors
/// [`SandboxError::StreamNotFound`], unknown connectors.
pub async fn set_sandbox_records(
    workspace: &Workspace,
    request: SetSandboxRecordsRequest,
) -> Result<SandboxRecordsView> {
    let SetSandboxRecordsRequest { connector, stream, records } = request;
    let connector = workspace.engine.catalogue.get(&connector)?;
    if !connector.streams.contains_key(&stream) {
        return Err(SandboxError::stream_not_found(&connector, &stream).into());
    }
    change_state(workspace, &connector.id, |state| state.set_records(&stream, records))?;
    Ok(SandboxRecordsView { connector: connector.id, stream, records })
}

/// Forgets the state of an emulated service, or of all if none is named: rotated and revoked grants, faults, ticks and sizes.
///
/// # Errors
/// The vault's.
pub async fn reset_sandbox(workspace: &Workspace, connector: Option<String>) -> Result<SandboxResetView> {
    let services =
        if workspace.has_vault() { Workspace::sandbox_reset(workspace.store()?, connector.as_deref())? } else { 0 };
    Ok(SandboxResetView { services })
}

/// A state that this version cannot read is as good as none.
fn read_state(document: Value) -> SandboxState {
    serde_json::from_value(document).unwrap_or_default()
}

/// Changes a service's state inside one transaction.
fn change_state<T>(
    workspace: &Workspace,
    connector: &str,
    change: impl FnOnce(&mut SandboxState) -> T,
) -> Result<(T, SandboxState)> {
    let changed = workspace.store_or_new()?.sandbox().update(&state_key(connector), |document| {
        let mut state = document.take().map(read_state).unwrap_or_default();
        let outcome = change(&mut state);
        serde_json::to_value(&state).map(|value| {
            *document = Some(value);
            (outcome, state)
        })
    })?;
    Ok(changed.map_err(|source| SandboxError::InvalidState { connector: connector.to_owned(), source })?)
}
