//! Resolves the requested streams: the named ones or all, each with its parents.

use std::collections::BTreeSet;

use super::SyncError;
use super::checkpoint::ReadGoal;
use crate::api::{self, ApiError};
use crate::clock::Timestamp;
use crate::connector::{Connector, Param, Stream};
use crate::error::{Error, Result};
use crate::model::{ConnectionName, StoredStream, StreamParams, SyncMode};
use crate::near::closest;
use crate::runtime::{Session, Workspace};

/// What a user asks for, of one connection.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub connection: ConnectionName,
    /// All streams where empty.
    pub streams: Vec<String>,
    pub mode: SyncMode,
    /// Of a backfill.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub params: StreamParams,
    /// Lets a full list delete more than half of a stream.
    pub allow_deletes: bool,
}

/// A stream that takes part.
pub(super) struct SelectedStream<'c> {
    pub(super) name: &'c str,
    pub(super) stream: &'c Stream,
    pub(super) mode: SyncMode,
}

/// What a request comes to.
pub(super) enum Selection<'c> {
    /// The streams that take part, and those of all that cannot.
    Streams { selected: Vec<SelectedStream<'c>>, left_out: Vec<LeftOutStream<'c>> },
    /// A stream that was named cannot take part.
    Refused(StreamObstacle),
}

/// A stream that cannot take part.
pub(super) struct LeftOutStream<'c> {
    pub(super) name: &'c str,
    pub(super) obstacle: StreamObstacle,
}

/// What keeps a stream from being synced, which only the user can change.
#[derive(Debug)]
pub(super) enum StreamObstacle {
    /// Its authentication method or its scopes.
    NotAllowed(ApiError),
    MissingParams(SyncError),
}

impl From<StreamObstacle> for Error {
    fn from(obstacle: StreamObstacle) -> Self {
        match obstacle {
            StreamObstacle::NotAllowed(error) => error.into(),
            StreamObstacle::MissingParams(error) => error.into(),
        }
    }
}

/// Selects the streams of a request, with the parents that they need.
///
/// # Errors
/// [`SyncError`] for streams and parameters that do not exist, and for a backfill that a stream does not support.
pub(super) async fn select_streams<'c>(
    workspace: &Workspace,
    session: &'c Session,
    request: &SyncRequest,
) -> Result<Selection<'c>> {
    let connector = &session.connector;
    if connector.streams.is_empty() {
        return Err(SyncError::NoStreams { connection: request.connection.clone() }.into());
    }
    let all = request.streams.is_empty();
    let meant: Vec<(&str, &Stream)> = match all {
        true => connector.streams.iter().map(|(name, stream)| (name.as_str(), stream)).collect(),
        false => request.streams.iter().map(|name| find_stream(connector, name)).collect::<Result<_, _>>()?,
    };
    check_params(connector, request, &meant)?;
    let stored = workspace.store().await?.streams().list(session.connection.id).await?;
    let (mut named, mut left_out) = (Vec::new(), Vec::new());
    for (name, stream) in meant {
        match obstacle(session, name, stream, request, &stored) {
            None => named.push((name, stream)),
            Some(obstacle) if all => left_out.push(LeftOutStream { name, obstacle }),
            Some(obstacle) => return Ok(Selection::Refused(obstacle)),
        }
    }
    if request.mode == SyncMode::Backfill {
        if request.streams.is_empty() {
            named.retain(|(_, stream)| backfill_obstacle(stream, request).is_none());
        }
        for (name, stream) in &named {
            if let Some(why) = backfill_obstacle(stream, request) {
                let (connection, stream) = (request.connection.clone(), (*name).to_owned());
                return Err(SyncError::BackfillUnsupported { connection, stream, why }.into());
            }
        }
    }
    let mut selected: Vec<SelectedStream<'c>> =
        named.iter().map(|(name, stream)| SelectedStream { name, stream, mode: request.mode }).collect();
    let mut at = 0;
    while let Some(SelectedStream { stream, .. }) = selected.get(at) {
        at += 1;
        if parent_params(stream, request).is_some() {
            continue;
        }
        for parent in &stream.parents {
            if selected.iter().all(|selected| selected.name != parent.stream)
                && let Some((name, stream)) = connector.streams.get_key_value(&parent.stream)
            {
                selected.push(SelectedStream { name, stream, mode: SyncMode::Incremental });
            }
        }
    }
    Ok(Selection::Streams { selected, left_out })
}

/// A stream of a connector by its name.
///
/// # Errors
/// [`SyncError::UnknownStream`] with the likely one.
pub fn find_stream<'c>(connector: &'c Connector, name: &str) -> Result<(&'c str, &'c Stream), SyncError> {
    if let Some((name, stream)) = connector.streams.get_key_value(name) {
        return Ok((name, stream));
    }
    let suggestion = closest(name, connector.streams.keys().map(String::as_str));
    Err(SyncError::UnknownStream {
        connector: connector.id.clone(),
        stream: name.to_owned(),
        suggestion: suggestion.map(str::to_owned),
    })
}

/// What keeps a stream from being synced at all, or one of those that it is listed for: its authentication method, scopes,
/// parameters.
fn obstacle(
    session: &Session,
    name: &str,
    stream: &Stream,
    request: &SyncRequest,
    stored: &[StoredStream],
) -> Option<StreamObstacle> {
    if let Err(error) = api::check_allowed(session, name, &stream.auth, &stream.scopes) {
        return Some(StreamObstacle::NotAllowed(error));
    }
    let is_stored = |param: &str| stored.iter().any(|stored| stored.name == name && stored.params.contains_key(param));
    let missing: Vec<String> = stream
        .required_params()
        .filter(|name| !request.params.contains_key(*name) && !is_stored(name))
        .map(str::to_owned)
        .collect();
    if !missing.is_empty() {
        let (connection, stream) = (session.connection.name.clone(), name.to_owned());
        return Some(StreamObstacle::MissingParams(SyncError::MissingParams { connection, stream, missing }));
    }
    if parent_params(stream, request).is_some() {
        return None;
    }
    let above = stream.parents.iter().filter(|parent| parent.stream != name);
    let mut above = above.filter_map(|parent| session.connector.streams.get_key_value(&parent.stream));
    above.find_map(|(name, stream)| obstacle(session, name, stream, request, stored))
}

/// The values that a stream's templates may name beside the connection's, and those of the streams that it needs.
fn template_names<'c>(connector: &'c Connector, name: &str, stream: &'c Stream) -> BTreeSet<&'c str> {
    let values = stream.parents.first().into_iter().flat_map(|parent| parent.values.keys());
    let own = stream.params.keys().chain(values).map(String::as_str);
    let above = stream.parents.iter().filter(|parent| parent.stream != name);
    let above = above.filter_map(|parent| connector.streams.get_key_value(&parent.stream));
    own.chain(above.flat_map(|(name, stream)| template_names(connector, name, stream))).collect()
}

fn check_params(connector: &Connector, request: &SyncRequest, meant: &[(&str, &Stream)]) -> Result<(), SyncError> {
    let known: BTreeSet<&str> =
        meant.iter().flat_map(|(name, stream)| template_names(connector, name, stream)).collect();
    let Some(unknown) = request.params.keys().find(|param| !known.contains(param.as_str())) else { return Ok(()) };
    Err(SyncError::UnknownParam {
        connection: request.connection.clone(),
        stream: meant.first().map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
        param: unknown.clone(),
        suggestion: closest(unknown, known.iter().copied()).or(known.first().copied()).map(str::to_owned),
    })
}

/// Why a stretch of time cannot be asked of a stream.
fn backfill_obstacle(stream: &Stream, request: &SyncRequest) -> Option<&'static str> {
    let Some(rule) = &stream.incremental else { return Some("its list cannot be filtered by time") };
    let bounded = !rule.until.is_empty() || rule.window_secs.is_some();
    (request.until.is_some() && !bounded).then_some("the service takes no end of it")
}

/// The parent's values, where the user gives all of them: then no record of the parent has to.
pub(super) fn parent_params(stream: &Stream, request: &SyncRequest) -> Option<StreamParams> {
    let names = &stream.parents.first()?.values;
    let value = |name: &String| Some((name.clone(), request.params.get(name)?.clone()));
    names.keys().map(value).collect()
}

/// The stream's own parameters: what is given now, what was before, what the file says.
pub(super) fn own_params(stream: &Stream, stored: Option<&StoredStream>, request: &SyncRequest) -> StreamParams {
    let own_value = |(name, param): (&String, &Param)| {
        let value = request.params.get(name).or_else(|| stored?.params.get(name)).or(param.default.as_ref())?;
        Some((name.clone(), value.clone()))
    };
    stream.params.iter().filter_map(own_value).collect()
}

pub(super) fn read_goal(request: &SyncRequest, mode: SyncMode) -> ReadGoal {
    let bounds = mode == SyncMode::Backfill;
    ReadGoal { mode, since: request.since.filter(|_| bounds), until: request.until.filter(|_| bounds) }
}

/// Number of streams above one.
pub(super) fn depth(connector: &Connector, name: &str) -> usize {
    let parents = connector.streams.get(name).map(|stream| &stream.parents);
    let above = parents.into_iter().flatten().filter(|parent| parent.stream != name);
    above.map(|parent| 1 + depth(connector, &parent.stream)).max().unwrap_or_default()
}
