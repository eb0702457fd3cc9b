//! What a vendor tells by itself, put where a sync puts what it asks for: push and poll meet in one store.
//!
//! An event that carries a whole record is kept as if a sync had brought it. Any other is a sign that there is something
//! new, and the stream is synced: once for all signs that come before it begins. No cursor is moved by a push.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use super::SyncError;
use super::ask::List;
use super::list::Watch;
use super::moment::Moment;
use super::order::{Order, own_given};
use super::record::{self, Pulled};
use super::run::{self, Outcome};
use crate::api::ApiError;
use crate::clock::{Timestamp, due_at, is_from_fast_clock};
use crate::connector::{Connector, EventSync, Param, Pointer, Stream};
use crate::error::{Error, Kind, Result};
use crate::http::LONGEST_RETRY_AFTER;
use crate::json::Json;
use crate::model::ConnectionName;
use crate::runtime::{App, AppError};
use crate::store::{Given, Known, Mode, PartId, Pushed, StoredEvent, StoredStream};
use crate::vault::Opened;

/// How long a sign waits for others.
const GATHER: Duration = Duration::from_secs(2);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// Another process syncs the stream, or the vendor wants no requests for now: to be told again.
    Busy,
}

/// Takes the events of one connection.
pub struct Pusher<'a> {
    app: &'a App,
    opened: Arc<Opened>,
    name: ConnectionName,
    connector: Connector,
    signs: Mutex<Signs>,
}

#[derive(Default)]
struct Signs {
    /// When what a sign asks for was last synced: all signs from before are answered by it.
    synced: HashMap<(String, Given), Timestamp>,
    /// The vendor wants no requests before.
    rests_until: Option<Timestamp>,
}

/// Nobody looks on.
struct Unwatched;

impl Watch for Unwatched {}

impl<'a> Pusher<'a> {
    pub fn new(app: &'a App, opened: Arc<Opened>, name: ConnectionName, connector: Connector) -> Self {
        Self { app, opened, name, connector, signs: Mutex::default() }
    }

    /// Does what an event asks for; nothing where the connector names no stream for it.
    ///
    /// # Errors
    /// Whatever the sync that it asks for, or the store, fails with.
    pub async fn tell(&self, event: &StoredEvent, payload: &Value) -> Result<Told> {
        let Some(rule) = self.connector.events.get(&event.kind).and_then(|kind| kind.sync.as_ref()) else {
            return Ok(Told::Done);
        };
        let Some(stream) = self.connector.streams.get(&rule.stream) else { return Ok(Told::Done) };
        let value = |(name, at): (&String, &Pointer)| Some((name.clone(), at.text(payload)?));
        let values: Given = rule.values.iter().map(value).collect::<Option<_>>().unwrap_or_default();
        let text = payload.to_string();
        let holds = |(at, values): (&Pointer, &Vec<Value>)| record::holds(Json::checked(&text), at, values);
        let gone = rule.deleted || rule.deleted_when.iter().any(holds);
        let carried = rule.record.as_ref().and_then(|at| at.find(payload));
        if let Some(document) = carried
            && let Some(told) = self.put(event, rule, stream, &values, document, gone).await?
        {
            return Ok(told);
        }
        // One that is gone and was never known is nobody's loss.
        if gone { Ok(Told::Done) } else { self.sync(event, rule, values).await }
    }

    /// Keeps a record that an event carries, unless what is known is newer. Absent where it cannot be told which list it
    /// belongs to.
    async fn put(
        &self,
        event: &StoredEvent,
        rule: &EventSync,
        stream: &Stream,
        values: &Given,
        document: &Value,
        gone: bool,
    ) -> Result<Option<Told>> {
        let Some(place) = self.place(rule, stream, values, document)? else { return Ok(None) };
        let Place { stored, part, mut pulled } = place;
        let lock = match run::lock(self.app, &self.name, &stored) {
            Ok(lock) => lock,
            Err(SyncError::Busy { .. }) => return Ok(Some(Told::Busy)),
            Err(error) => return Err(error.into()),
        };
        pulled.record.deleted |= gone;
        let told_at = event.occurred_at.unwrap_or(event.received_at);
        // Now that nobody else writes it.
        let known = self.opened.store.records().find(stored.id, &pulled.record.key)?;
        if known.as_ref().is_some_and(|known| is_outdated(stream, &pulled, told_at, known)) {
            tracing::debug!("event {} is older than what is known of {}", event.id.0, pulled.record.key);
            return Ok(Some(Told::Done));
        }
        let now = self.app.clock.now();
        let at = pulled.at.map(|(_, text)| text);
        let pushed = Pushed { stream: stored.id, part, record: pulled.record, at, told_at, now };
        let opened = Arc::clone(&self.opened);
        let kept = tokio::task::spawn_blocking(move || opened.store.records().push(&pushed)).await;
        let change = kept.map_err(|error| AppError::Runtime { source: std::io::Error::other(error) })??;
        drop(lock);
        tracing::debug!(event = event.id.0, stream = rule.stream, change = ?change, "a record was pushed");
        Ok(Some(Told::Done))
    }

    /// The list that a record belongs to: its own where it is known, else the one whose values the event gives, else the
    /// stream's only one.
    fn place(&self, rule: &EventSync, stream: &Stream, values: &Given, document: &Value) -> Result<Option<Place>> {
        let streams = self.opened.store.streams();
        let connection = self.app.connection(&self.name)?.id;
        let stored = if stream.parents.is_empty() {
            streams.ensure(connection, &rule.stream)?
        } else {
            // Its lists are known once their parents are.
            let Some(stored) = streams.find(connection, &rule.stream)? else { return Ok(None) };
            stored
        };
        let mut given = own_given(stream, Some(&stored), &self.order(rule, Given::new()));
        let lacks = |(name, param): (&String, &Param)| !param.optional && !given.contains_key(name);
        if stream.params.iter().any(lacks) {
            return Ok(None);
        }
        given.extend(values.clone());
        let Some(pulled) = self.read(rule, stream, &given, document)? else { return Ok(None) };
        let known = self.opened.store.records().find(stored.id, &pulled.record.key)?;
        let parts = streams.parts(stored.id)?;
        let part = match &known {
            Some(known) => parts.into_iter().find(|part| part.id == known.part),
            None => parts.into_iter().find(|part| part.given == given),
        };
        let part = match part {
            None if stream.parents.is_empty() => streams.part(stored.id, &given, None)?,
            None => return Ok(None),
            Some(part) => part,
        };
        let pulled = if part.given == given { Some(pulled) } else { self.read(rule, stream, &part.given, document)? };
        Ok(pulled.map(|pulled| Place { stored, part: part.id, pulled }))
    }

    /// The record as a list with these values would bring it; absent where its key cannot be told.
    fn read(&self, rule: &EventSync, stream: &Stream, given: &Given, document: &Value) -> Result<Option<Pulled>> {
        let mut added = IndexMap::new();
        if !stream.add.is_empty() {
            let session = &self.app.session(self.app.connection(&self.name)?)?;
            let list = List { session, name: &rule.stream, stream, given, now: self.app.clock.now() };
            added = list.added().unwrap_or_default();
        }
        let text = document.to_string();
        Ok(record::record(stream, Json::checked(&text), &added, self.opened.store.record_hasher()).ok())
    }

    /// Syncs the stream that a sign is about, unless that was done since the sign came.
    async fn sync(&self, event: &StoredEvent, rule: &EventSync, values: Given) -> Result<Told> {
        let asked = (rule.stream.clone(), values.clone());
        let now = self.app.clock.precise();
        {
            let signs = self.signs();
            if signs.rests_until.is_some_and(|until| now < due_at(until, LONGEST_RETRY_AFTER, now)) {
                return Ok(Told::Busy);
            }
            let covers = |began: &&Timestamp| **began > event.received_at && !is_from_fast_clock(**began, now);
            if signs.synced.get(&asked).filter(covers).is_some() {
                return Ok(Told::Done);
            }
        }
        let gathered = event.received_at.checked_add(GATHER).unwrap_or(now);
        tokio::time::sleep(Duration::try_from(gathered.duration_since(now)).unwrap_or_default().min(GATHER)).await;
        let began = self.app.clock.precise();
        let order = self.order(rule, values);
        let reports = match run::run(self.app, &order, &Unwatched).await {
            Ok(reports) => reports,
            // The user never gave or granted what the stream needs, and is not asked here.
            Err(error) if error.kind() == Kind::Usage || is_missing_scopes(&error) => {
                tracing::warn!("{} is not synced for event {}: {}", rule.stream, event.id.0, error.message());
                return Ok(Told::Done);
            }
            Err(error) => return Err(error),
        };
        for report in reports {
            match report.outcome {
                Outcome::Done | Outcome::Skipped | Outcome::Cancelled | Outcome::Left(_) => {}
                Outcome::Limited(until) => {
                    self.signs().rests_until = Some(until);
                    return Ok(Told::Busy);
                }
                Outcome::Failed(error) => {
                    return match error.downcast_ref() {
                        Some(SyncError::Busy { .. }) => Ok(Told::Busy),
                        _ => Err(error),
                    };
                }
            }
        }
        self.signs().synced.insert(asked, began);
        Ok(Told::Done)
    }

    fn order(&self, rule: &EventSync, params: Given) -> Order {
        Order {
            connection: self.name.clone(),
            streams: vec![rule.stream.clone()],
            mode: Mode::Incremental,
            since: None,
            until: None,
            params,
            allow_deletes: false,
        }
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record with the list that it belongs to.
struct Place {
    stored: StoredStream,
    part: PartId,
    pulled: Pulled,
}

fn is_missing_scopes(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ApiError::MissingScopes { .. }))
}

/// Whether an event says nothing new of a record: by what the vendor orders records by, and where that says nothing, by the
/// time. At one moment a deletion comes last, in whatever order the two arrive. Pure.
fn is_outdated(stream: &Stream, pulled: &Pulled, told_at: Timestamp, known: &Known) -> bool {
    let known_at = stream.incremental.as_ref().and_then(|rule| {
        if let Some(text) = &known.deleted_as {
            return Moment::read(&rule.format, text);
        }
        let found = rule.at.find_in(Json::checked(&known.record.json))?;
        Moment::of(&rule.format, &found.value())
    });
    let brings_back = known.record.deleted_at.is_some() && !pulled.record.deleted;
    match (pulled.at.as_ref().map(|(at, _)| at), &known_at) {
        (Some(at), Some(known_at)) if at != known_at => at < known_at,
        (Some(_), Some(_)) if brings_back => true,
        _ => told_at < known.as_of || (brings_back && told_at == known.as_of),
    }
}
