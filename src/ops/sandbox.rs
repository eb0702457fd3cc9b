//! Operations on the sandbox: emulated services, their faults and their records.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Effect, Operation, OperationScope};
use crate::connector::Connector;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::runtime::{Workspace, update_sandbox_state};
use crate::sandbox::{Fault, RunningEmulator, SandboxAccount, SandboxState, account_fields, sandbox_params};
use crate::store::state_key;
use crate::view::sandbox::{
    EmulatorEvent, EmulatorView, FaultListView, FaultView, SandboxAdvanceView, SandboxRecordsView, SandboxResetView,
};

const fn operation(name: &'static str, effect: Effect) -> Operation {
    Operation::local(name, OperationScope::Sandbox, effect)
}

/// The operations of this module. `sandbox fault` without a fault only lists them.
pub const OPERATIONS: &[Operation] = &[
    operation("sandbox run", Effect::Write),
    operation("sandbox fault", Effect::Write),
    operation("sandbox advance", Effect::Write),
    operation("sandbox data", Effect::Write),
    operation("sandbox reset", Effect::Destroy),
];

/// Why an operation on the sandbox failed.
#[derive(Debug, Error)]
pub enum SandboxError {
    #[error("{connector} has no stream {stream:?}")]
    StreamNotFound { connector: String, stream: String, known: Vec<String> },
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

/// Emulates services on loopback until `stop` is ready, in a new workspace if needed. `on_start` sees each emulator
/// once it answers; `stop` is not polled before all answer.
///
/// # Errors
/// Those of `on_start`, unknown connectors and authentication methods, and ports that are in use.
pub async fn run_emulators(
    workspace: &Workspace,
    request: RunEmulatorsRequest,
    stop: impl Future<Output = ()>,
    mut on_start: impl FnMut(&EmulatorView) -> Result<()>,
) -> Result<()> {
    workspace.store_or_new().await?;
    let mut running = Vec::new();
    for (index, id) in request.connectors.iter().enumerate() {
        let offset = u16::try_from(index).unwrap_or(u16::MAX);
        let port = request.port.map(|port| port.saturating_add(offset));
        let (emulator, view) = start_emulator(workspace, id, request.auth.as_deref(), port).await?;
        on_start(&view)?;
        running.push(emulator);
    }
    stop.await;
    Ok(())
}

async fn start_emulator(
    workspace: &Workspace,
    id: &str,
    auth: Option<&str>,
    port: Option<u16>,
) -> Result<(RunningEmulator, EmulatorView)> {
    // An account has a name as its connection has: `slack@beta`.
    let (id, account) = id.split_once('@').map_or((id, None), |(id, account)| (id, Some(account)));
    let account = SandboxAccount::named(account);
    let connector = workspace.catalogue().get(id)?;
    let (name, auth) = connector.auth_method(auth)?;
    let mut params: BTreeMap<String, String> = sandbox_params(&connector, auth);
    let emulator = workspace.start_emulator(&connector, name, &account, &params, port).await?;
    let key = account_fields(&connector, auth, &account, &workspace.sandbox_seed().await?);
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

/// Lists the faults injected into an emulated service.
///
/// # Errors
/// Unknown connectors.
pub async fn list_faults(workspace: &Workspace, connector: String) -> Result<FaultListView> {
    workspace.catalogue().text(&connector)?;
    let mut document = None;
    if workspace.has_vault() {
        document = workspace.store().await?.sandbox().get(&state_key(&connector)).await?;
    }
    // A state that this version cannot read is as good as none.
    let state = document.and_then(|document| serde_json::from_value(document).ok()).unwrap_or_default();
    Ok(fault_list(connector, &state))
}

/// A fault to script.
#[derive(Clone, Debug)]
pub struct AddFaultRequest {
    pub connector: String,
    pub fault: Fault,
}

/// Adds a fault after the existing ones, in a new workspace if needed, and lists all of them.
///
/// # Errors
/// Unknown connectors.
pub async fn add_fault(workspace: &Workspace, request: AddFaultRequest) -> Result<FaultListView> {
    workspace.catalogue().text(&request.connector)?;
    let ((), state) =
        change_state(workspace, &request.connector, |state| state.add_fault(request.fault.clone())).await?;
    Ok(fault_list(request.connector, &state))
}

/// Removes all faults of an emulated service.
///
/// # Errors
/// Unknown connectors.
pub async fn clear_faults(workspace: &Workspace, connector: String) -> Result<FaultListView> {
    workspace.catalogue().text(&connector)?;
    let (_, state) = change_state(workspace, &connector, SandboxState::clear_faults).await?;
    Ok(fault_list(connector, &state))
}

fn fault_list(connector: String, state: &SandboxState) -> FaultListView {
    FaultListView { connector, faults: state.faults().iter().map(FaultView::from).collect() }
}

/// The ticks to advance an emulated service by.
#[derive(Clone, Debug)]
pub struct AdvanceSandboxRequest {
    pub connector: String,
    /// Each adds, changes and deletes a few records.
    pub ticks: u32,
}

/// Advances the records of an emulated service, in a new workspace if needed.
///
/// # Errors
/// Unknown connectors.
pub async fn advance_sandbox(workspace: &Workspace, request: AdvanceSandboxRequest) -> Result<SandboxAdvanceView> {
    let AdvanceSandboxRequest { connector, ticks } = request;
    workspace.catalogue().text(&connector)?;
    let now = workspace.clock.now();
    let change = |state: &mut SandboxState| (state.advance(ticks, now), state.edits());
    let ((ticks, edits), _) = change_state(workspace, &connector, change).await?;
    Ok(SandboxAdvanceView { connector, ticks, edits })
}

/// The size of an emulated stream.
#[derive(Clone, Debug)]
pub struct SetSandboxRecordsRequest {
    pub connector: String,
    pub stream: String,
    /// Of each list, before any tick.
    pub records: u32,
}

/// Sets the number of records of an emulated stream, in a new workspace if needed.
///
/// # Errors
/// [`SandboxError::StreamNotFound`], unknown connectors.
pub async fn set_sandbox_records(
    workspace: &Workspace,
    request: SetSandboxRecordsRequest,
) -> Result<SandboxRecordsView> {
    let SetSandboxRecordsRequest { connector, stream, records } = request;
    let connector = workspace.catalogue().get(&connector)?;
    if !connector.streams.contains_key(&stream) {
        return Err(SandboxError::stream_not_found(&connector, &stream).into());
    }
    change_state(workspace, &connector.id, |state| state.set_records(&stream, records)).await?;
    Ok(SandboxRecordsView { connector: connector.id.clone(), stream, records })
}

/// Resets the state of an emulated service, or of all: rotated and revoked grants, faults, ticks and sizes.
///
/// # Errors
/// The vault's.
pub async fn reset_sandbox(workspace: &Workspace, connector: Option<String>) -> Result<SandboxResetView> {
    let services = if workspace.has_vault() {
        Workspace::sandbox_reset(workspace.store().await?, connector.as_deref()).await?
    } else {
        0
    };
    Ok(SandboxResetView { services })
}

/// Changes a service's state, and returns it with the result.
async fn change_state<T: Send>(
    workspace: &Workspace,
    connector: &str,
    mut change: impl FnMut(&mut SandboxState) -> T + Send,
) -> Result<(T, SandboxState)> {
    update_sandbox_state(workspace.store_or_new().await?, connector, |state| {
        let result = change(state);
        (result, state.clone())
    })
    .await
}
