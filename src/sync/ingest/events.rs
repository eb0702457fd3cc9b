//! Stores records from webhooks together with synced records.
//!
//! An event that carries a whole record is stored as if a sync had read it. Any other is a sign that there is something
//! new, and the stream is synced: once for all signs that come before it begins. No cursor is moved by a push.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use super::super::cursor_value::CursorValue;
use super::super::observer::SyncObserver;
use super::super::outcome::SyncOutcome;
use super::super::record::{self, ParsedRecord};
use super::super::request::ListRequestBuilder;
use super::super::run::{RunEnd, run_streams};
use super::super::selection::{SyncRequest, own_params};
use super::commit;
use crate::clock::{Timestamp, due_at, is_from_fast_clock};
use crate::connector::{Connector, EventSync, Param, Pointer, Stream};
use crate::error::{Error, Kind, Result};
use crate::http::MAX_RETRY_AFTER;
use crate::json::Json;
use crate::model::{
    ConnectionId, ConnectionName, EventId, PartitionId, PushedRecord, RecordSnapshot, StoredEvent, StoredStream,
    StreamParams, SyncMode,
};
use crate::runtime::Workspace;
use crate::store::{LockKey, Store};

/// How long a sign waits for others.
const DEBOUNCE: Duration = Duration::from_secs(2);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestResult {
    Done,
    /// Another process syncs the stream, or the vendor wants no requests for now: call again later.
    RetryLater,
}

/// Takes the events of one connection.
pub struct EventIngest<'a> {
    workspace: &'a Workspace,
    store: Arc<dyn Store>,
    name: ConnectionName,
    connector: Arc<Connector>,
    pending: Mutex<PendingSyncs>,
}

#[derive(Default)]
struct PendingSyncs {
    /// When what a sign asks for was last synced: all signs from before are answered by it.
    synced: HashMap<(String, StreamParams), Timestamp>,
    /// The vendor wants no requests before.
    paused_until: Option<Timestamp>,
}

/// Without progress output.
struct NoObserver;

impl SyncObserver for NoObserver {}

impl<'a> EventIngest<'a> {
    /// Creates the ingest of one connection's events, with nothing pending.
    pub fn new(
        workspace: &'a Workspace,
        store: Arc<dyn Store>,
        name: ConnectionName,
        connector: Arc<Connector>,
    ) -> Self {
        Self { workspace, store, name, connector, pending: Mutex::default() }
    }

    /// Does what an event asks for; nothing where the connector names no stream for it.
    ///
    /// # Errors
    /// Whatever the sync that it asks for, or the store, fails with.
    pub async fn ingest(&self, event: &StoredEvent, payload: &Value) -> Result<IngestResult> {
        let Some(rule) = self.connector.events.get(&event.kind).and_then(|kind| kind.sync.as_ref()) else {
            return Ok(IngestResult::Done);
        };
        let Some(stream) = self.connector.streams.get(&rule.stream) else { return Ok(IngestResult::Done) };
        let value = |(name, at): (&String, &Pointer)| Some((name.clone(), at.text(payload)?));
        let values: StreamParams = rule.values.iter().map(value).collect::<Option<_>>().unwrap_or_default();
        let text = payload.to_string();
        let holds = |(at, values): (&Pointer, &Vec<Value>)| record::holds(Json::from_validated(&text), at, values);
        let is_deleted = rule.deleted || rule.deleted_when.iter().any(holds);
        let record = rule.record.as_ref().and_then(|at| at.find(payload));
        if let Some(document) = record
            && let Some(result) = self.store_record(event, rule, stream, &values, document, is_deleted).await?
        {
            return Ok(result);
        }
        // A record that was deleted before it was ever stored needs nothing.
        if is_deleted { Ok(IngestResult::Done) } else { self.sync(event, rule, values).await }
    }

    /// Stores a record that an event carries, unless the stored one is newer. Absent if it is not known which partition it
    /// belongs to.
    async fn store_record(
        &self,
        event: &StoredEvent,
        rule: &EventSync,
        stream: &Stream,
        values: &StreamParams,
        document: &Value,
        is_deleted: bool,
    ) -> Result<Option<IngestResult>> {
        let Some(target) = self.locate_partition(rule, stream, values, document).await? else { return Ok(None) };
        let RecordTarget { connection, stored, partition, mut parsed } = target;
        let Some(lock) = self.workspace.try_lock(LockKey::Stream(stored.id)).await? else {
            return Ok(Some(IngestResult::RetryLater));
        };
        parsed.record.is_deleted |= is_deleted;
        let occurred_at = event.occurred_at.unwrap_or(event.received_at);
        // Now that nobody else writes it.
        let known = self.store.records().find(stored.id, &parsed.record.key).await?;
        if known.as_ref().is_some_and(|known| is_outdated(stream, &parsed, (occurred_at, event.id), known)) {
            tracing::debug!("event {} is older than what is known of {}", event.id.0, parsed.record.key);
            lock.release().await;
            return Ok(Some(IngestResult::Done));
        }
        let now = self.workspace.clock.now();
        let at = parsed.cursor.map(|(_, text)| text);
        let pushed = PushedRecord {
            stream: stored.id,
            partition,
            record: parsed.record,
            cursor_value: at,
            vendor_updated_at: occurred_at,
            event: event.id,
            now,
        };
        let conditions = commit::commit_conditions(self.workspace, connection, &lock);
        let change = commit::push(&*self.store, pushed, &conditions).await?;
        lock.release().await;
        tracing::debug!(event = event.id.0, stream = rule.stream, change = ?change, "a record was pushed");
        Ok(Some(IngestResult::Done))
    }

    /// The list that a record belongs to: its own where it is known, else the one whose values the event gives, else the
    /// stream's only one.
    async fn locate_partition(
        &self,
        rule: &EventSync,
        stream: &Stream,
        values: &StreamParams,
        document: &Value,
    ) -> Result<Option<RecordTarget>> {
        let streams = self.store.streams();
        let connection = self.workspace.connection(&self.name).await?.id;
        let stored = if stream.parents.is_empty() {
            streams.ensure(connection, &rule.stream).await?
        } else {
            // Its lists are known once their parents are.
            let Some(stored) = streams.find(connection, &rule.stream).await? else { return Ok(None) };
            stored
        };
        let mut params = own_params(stream, Some(&stored), &self.request(rule, StreamParams::new()));
        let lacks = |(name, param): (&String, &Param)| !param.optional && !params.contains_key(name);
        if stream.params.iter().any(lacks) {
            return Ok(None);
        }
        params.extend(values.clone());
        let Some(parsed) = self.read(rule, stream, &params, document).await? else { return Ok(None) };
        let known = self.store.records().find(stored.id, &parsed.record.key).await?;
        let partitions = streams.partitions(stored.id).await?;
        let partition = match &known {
            Some(known) => partitions.into_iter().find(|partition| partition.id == known.partition),
            None => partitions.into_iter().find(|partition| partition.params == params),
        };
        let partition = match partition {
            None if stream.parents.is_empty() => streams.ensure_partition(stored.id, &params, None).await?,
            None => return Ok(None),
            Some(partition) => partition,
        };
        let parsed = if partition.params == params {
            Some(parsed)
        } else {
            self.read(rule, stream, &partition.params, document).await?
        };
        Ok(parsed.map(|parsed| RecordTarget { connection, stored, partition: partition.id, parsed }))
    }

    /// The record as a list with these values would bring it; absent if it has no key.
    async fn read(
        &self,
        rule: &EventSync,
        stream: &Stream,
        params: &StreamParams,
        document: &Value,
    ) -> Result<Option<ParsedRecord>> {
        let mut added = IndexMap::new();
        if !stream.add.is_empty() {
            let session = &self.workspace.session(self.workspace.connection(&self.name).await?).await?;
            let list =
                ListRequestBuilder { session, name: &rule.stream, stream, params, now: self.workspace.clock.now() };
            added = list.added().unwrap_or_default();
        }
        let text = document.to_string();
        Ok(record::record(stream, Json::from_validated(&text), &added, self.store.record_hasher()).ok())
    }

    /// Syncs the stream that a sign is about, unless that was done since the sign came.
    async fn sync(&self, event: &StoredEvent, rule: &EventSync, values: StreamParams) -> Result<IngestResult> {
        let asked = (rule.stream.clone(), values.clone());
        let now = self.workspace.clock.now_millis();
        {
            let pending = self.pending_syncs();
            if pending.paused_until.is_some_and(|until| now < due_at(until, MAX_RETRY_AFTER, now)) {
                return Ok(IngestResult::RetryLater);
            }
            let covers = |began: &&Timestamp| **began > event.received_at && !is_from_fast_clock(**began, now);
            if pending.synced.get(&asked).filter(covers).is_some() {
                return Ok(IngestResult::Done);
            }
        }
        let gathered = event.received_at.checked_add(DEBOUNCE).unwrap_or(now);
        tokio::time::sleep(Duration::try_from(gathered.duration_since(now)).unwrap_or_default().min(DEBOUNCE)).await;
        let began = self.workspace.clock.now_millis();
        let request = self.request(rule, values);
        let not_synced = |error: Error| {
            tracing::warn!("{} is not synced for event {}: {}", rule.stream, event.id.0, error.message());
            Ok(IngestResult::Done)
        };
        let reports = match run_streams(self.workspace, &request, &NoObserver).await {
            Ok(RunEnd::Finished(reports)) => reports,
            // The user never gave or granted what the stream needs, and is not asked here.
            Ok(RunEnd::Refused(obstacle)) => return not_synced(obstacle.into()),
            Err(error) if error.kind() == Kind::Usage => return not_synced(error),
            Err(error) => return Err(error),
        };
        for report in reports {
            match report.outcome {
                SyncOutcome::Done | SyncOutcome::Skipped | SyncOutcome::Cancelled | SyncOutcome::NotStarted(_) => {}
                SyncOutcome::RateLimited(until) => {
                    self.pending_syncs().paused_until = Some(until);
                    return Ok(IngestResult::RetryLater);
                }
                SyncOutcome::Locked(_) => return Ok(IngestResult::RetryLater),
                SyncOutcome::DeletesBlocked(error) | SyncOutcome::Failed(error) => return Err(error),
            }
        }
        self.pending_syncs().synced.insert(asked, began);
        Ok(IngestResult::Done)
    }

    fn request(&self, rule: &EventSync, params: StreamParams) -> SyncRequest {
        SyncRequest {
            connection: self.name.clone(),
            streams: vec![rule.stream.clone()],
            mode: SyncMode::Incremental,
            since: None,
            until: None,
            params,
            allow_deletes: false,
        }
    }

    fn pending_syncs(&self) -> MutexGuard<'_, PendingSyncs> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record with the list that it belongs to.
struct RecordTarget {
    connection: ConnectionId,
    stored: StoredStream,
    partition: PartitionId,
    parsed: ParsedRecord,
}

/// Whether an event says nothing new of a record: by what the vendor orders records by, and where that says nothing, by the
/// time. At one moment a deletion comes last, and else the event that came later. In whatever order events are handled, the
/// record is the same in the end. Pure.
fn is_outdated(
    stream: &Stream,
    parsed: &ParsedRecord,
    (occurred_at, event): (Timestamp, EventId),
    known: &RecordSnapshot,
) -> bool {
    let known_at = stream.incremental.as_ref().and_then(|rule| {
        if let Some(text) = &known.deleted_cursor {
            return CursorValue::parse(&rule.format, text);
        }
        let found = rule.at.find_in(Json::from_validated(&known.record.json))?;
        CursorValue::from_json(&rule.format, &found.value())
    });
    let brings_back = known.record.deleted_at.is_some() && !parsed.record.is_deleted;
    match (parsed.cursor.as_ref().map(|(at, _)| at), &known_at) {
        (Some(at), Some(known_at)) if at != known_at => at < known_at,
        (Some(_), Some(_)) if brings_back => true,
        _ if occurred_at == known.as_of => brings_back || known.event.is_some_and(|known| event < known),
        _ => occurred_at < known.as_of,
    }
}
