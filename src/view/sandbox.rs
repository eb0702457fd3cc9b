//! Views of the sandbox: emulated services and injected faults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{optional_word, word};
use crate::model::words;
use crate::sandbox::{EmulatedEndpoint, Fault, FaultKind};

/// The name of the line that reports a started emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulatorEvent {
    Serving,
}

words!(EmulatorEvent { Serving => "serving" });

/// A running emulator, and what it takes to connect to it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EmulatorView {
    #[serde(serialize_with = "word")]
    pub event: EmulatorEvent,
    pub connector: String,
    /// A URL, with a slash at its end.
    pub origin: String,
    /// Parameters without a default in `connect`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// The fields of the key that the emulator accepts, if it uses a key. The key is valid nowhere else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub key: BTreeMap<String, String>,
    /// The name of the authentication method that is emulated.
    #[serde(skip)]
    pub auth: String,
    /// The field of `key` that is the token.
    #[serde(skip)]
    pub token_field: Option<String>,
}

/// An injected fault.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FaultView {
    #[serde(serialize_with = "word")]
    pub fault: FaultKind,
    /// Every call of the API if absent.
    #[serde(serialize_with = "optional_word")]
    pub endpoint: Option<EmulatedEndpoint>,
    /// Number of requests that will still fail; all if absent.
    pub times: Option<u32>,
    /// Number of requests to skip first.
    pub after: u32,
    pub seconds: Option<u32>,
}

impl From<&Fault> for FaultView {
    fn from(fault: &Fault) -> Self {
        let Fault { kind, endpoint, times, after, seconds, .. } = fault;
        Self { fault: *kind, endpoint: *endpoint, times: *times, after: *after, seconds: *seconds }
    }
}

/// The faults of an emulated service, in the order in which they are tried.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FaultListView {
    pub connector: String,
    pub faults: Vec<FaultView>,
}

/// The ticks that were advanced for an emulated service.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SandboxAdvanceView {
    pub connector: String,
    /// All ticks so far.
    pub ticks: u32,
    /// How often actions have created, changed or deleted a record.
    pub edits: u32,
}

/// The size of an emulated stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SandboxRecordsView {
    pub connector: String,
    pub stream: String,
    /// Per list, before any tick.
    pub records: u32,
}

/// How many emulated services were reset.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct SandboxResetView {
    pub services: usize,
}
