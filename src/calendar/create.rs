//! Creates events, once for each entity, even if a process is killed.
//!
//! The key of an event is committed before the service is asked. It is the event's own id where services let clients choose
//! one, else what they call a transaction id. An attempt that finds a key of an earlier one looks for its event first, and the
//! link is committed once the event is known.

use serde_json::Value;

use super::error::CalendarError;
use super::event::{self, EventLocation};
use super::mapping::{Placeholders, read_event};
use super::read::{self, connector_of, read_whole};
use super::time;
use crate::api::{SendError, refusal_error};
use crate::clock::random;
use crate::connector::{CalendarDefinition, Connector, CreationKeyFormat, EventCreation};
use crate::error::Result;
use crate::model::calendar::{CalendarEvent, CalendarName, EventChanges, EventCreationAttempt, EventSpan, Interval};
use crate::model::{ConnectionId, Entity};
use crate::runtime::Workspace;
use crate::{hash, hex};

/// Bytes of a key.
const KEY_BYTES: usize = 16;

/// An event to add.
#[derive(Clone, Debug)]
pub struct NewCalendarEvent {
    pub calendar: CalendarName,
    pub span: EventSpan,
    /// Everything but its time.
    pub changes: EventChanges,
    /// The user's entity that it is for.
    pub entity: Option<Entity>,
    /// Idempotency key for an event without an entity.
    pub idempotency_key: Option<String>,
}

/// What an attempt to add an event came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationOutcome {
    Created,
    /// It was there: an earlier attempt has added it.
    Existing,
}

/// One attempt with its key.
struct Attempt<'a> {
    workspace: &'a Workspace,
    connector: &'a Connector,
    definition: &'a CalendarDefinition,
    creation: &'a EventCreation,
    event: &'a NewCalendarEvent,
    calendar: CalendarName,
    /// In hexadecimal.
    key: String,
    window: Interval,
}

/// Adds an event, and links it with its entity. An entity that has an event in this connection keeps it.
///
/// # Errors
/// [`CalendarError::Unsupported`], and those of the request. After one that leaves it open whether the event was added, the
/// same call finds it.
pub async fn create(workspace: &Workspace, event: &NewCalendarEvent) -> Result<(CalendarEvent, CreationOutcome)> {
    let (connector, definition) = connector_of(workspace, &event.calendar.connection).await?;
    let creation = definition
        .create
        .as_ref()
        .ok_or_else(|| CalendarError::unsupported(&event.calendar, &connector, "creating events"))?;
    let connection = workspace.connection(&event.calendar.connection).await?;
    let instant = |time: &crate::model::calendar::EventTime| {
        time.instant(&event.span.day_zone).map_err(|_| time::TimeError::OutOfRange { text: time.to_string() })
    };
    let window = Interval { start: instant(&event.span.start)?, end: instant(&event.span.end)? };
    let fresh = || hex::encode(&random::<KEY_BYTES>());
    let Some(entity) = &event.entity else {
        let given = event.idempotency_key.as_ref().map(|key| {
            let digest = hash::sha256_of_parts(&[&connection.id.0.to_be_bytes(), key.as_bytes()]);
            hex::encode(&digest[..KEY_BYTES])
        });
        let (calendar, is_repeatable) = (event.calendar.clone(), given.is_some());
        let key = given.unwrap_or_else(fresh);
        let attempt = Attempt {
            workspace,
            connector: &connector,
            definition: &definition,
            creation,
            event,
            calendar,
            key,
            window,
        };
        if is_repeatable && let Some(found) = attempt.find().await? {
            return Ok((found, CreationOutcome::Existing));
        }
        return Box::pin(attempt.send()).await;
    };
    if let Some(stored) = event::of_entity(workspace, &connection, entity).await? {
        // A service that does not find it may have deleted it, or hide it: only the user knows whether to add another.
        let missing = || CalendarError::LinkedEventMissing {
            connection: connection.name.clone(),
            entity: entity.clone(),
            id: stored.id.clone(),
        };
        let found = event::read(workspace, &connector, &definition, &stored).await?;
        return Ok((found.ok_or_else(missing)?, CreationOutcome::Existing));
    }
    let parts = (&*connector, &*definition, creation);
    Box::pin(create_for_entity(workspace, parts, event, (connection.id, entity), window)).await
}

/// The same for an entity that has no event yet, as far as is known.
async fn create_for_entity(
    workspace: &Workspace,
    (connector, definition, creation): (&Connector, &CalendarDefinition, &EventCreation),
    event: &NewCalendarEvent,
    (connection, entity): (ConnectionId, &Entity),
    window: Interval,
) -> Result<(CalendarEvent, CreationOutcome)> {
    let store = workspace.store().await?;
    let now = workspace.clock.now();
    // The second round is for a key whose event was deleted, which services do not give again.
    for round in 0..2 {
        let own = EventCreationAttempt {
            key: hex::encode(&random::<KEY_BYTES>()),
            calendar: event.calendar.id.clone(),
            window,
        };
        let stored = store.event_creations().begin(connection, entity, &own, now).await?;
        let is_new = stored.key == own.key;
        let calendar = CalendarName { id: stored.calendar.clone(), ..event.calendar.clone() };
        let EventCreationAttempt { key, window, .. } = stored;
        let attempt = Attempt { workspace, connector, definition, creation, event, calendar, key: key.clone(), window };
        let found = if is_new { None } else { attempt.find().await?.map(|found| (found, CreationOutcome::Existing)) };
        let result = match found {
            Some(found) => Ok(found),
            // The same key means another event in another calendar.
            None if event.calendar.id != attempt.calendar.id => Err(CalendarError::UsedKey.into()),
            None => Box::pin(attempt.send()).await,
        };
        match result {
            Ok((created, outcome)) => {
                event::link(workspace, connection, entity, &created).await?;
                return Ok((created, outcome));
            }
            Err(error) if round == 0 && matches!(error.downcast_ref(), Some(CalendarError::UsedKey)) => {
                store.event_creations().remove(connection, entity, &key).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(CalendarError::UsedKey.into())
}

impl Attempt<'_> {
    /// The key as the service takes it.
    fn service_key(&self) -> String {
        let digest = hash::sha256(self.key.as_bytes());
        let bytes = &digest[..KEY_BYTES];
        match self.creation.key.format {
            CreationKeyFormat::Base32hex => base32hex(bytes),
            CreationKeyFormat::Uuid => uuid(bytes),
        }
    }

    /// The event that has this key; None if there is none, or none any more.
    async fn find(&self) -> Result<Option<CalendarEvent>> {
        let key = self.service_key();
        let fields = &self.definition.event;
        if self.creation.key.at == fields.id {
            let stored = EventLocation { calendar: self.calendar.clone(), id: key };
            return event::read(self.workspace, self.connector, self.definition, &stored).await;
        }
        let listing = &self.definition.events.call;
        let around = jiff::SignedDuration::from_hours(26);
        let from = self.window.start.saturating_sub(around).unwrap_or(self.window.start);
        let to = self.window.end.saturating_add(around).unwrap_or(self.window.end);
        let values = Placeholders::of_calendar(&self.calendar).with_window(from, to);
        let list = read_whole(self.workspace, self.connector, listing, &self.calendar, &values).await?;
        let has_key =
            |item: &&Value| self.creation.key.at.text(item).is_some_and(|known| known.eq_ignore_ascii_case(&key));
        match list.items.iter().find(has_key) {
            Some(item) => self.event_of(item).map(Some),
            None => Ok(None),
        }
    }

    fn event_of(&self, item: &Value) -> Result<CalendarEvent> {
        let malformed = |problem| CalendarError::MalformedEvent { calendar: self.calendar.clone(), problem };
        Ok(read_event(&self.definition.event, item, &self.calendar, None).map_err(malformed)?)
    }

    /// Asks the service to add the event. What may have been done without an answer is looked for.
    ///
    /// # Errors
    /// [`CalendarError::UsedKey`] if the key is that of an event that was deleted.
    async fn send(&self) -> Result<(CalendarEvent, CreationOutcome)> {
        let call = &self.creation.call;
        let key = self.service_key();
        let changes = EventChanges { time: Some(self.event.span.clone()), ..self.event.changes.clone() };
        let mut values = Placeholders::of_calendar(&self.calendar).with_changes(&changes, call, &key, None);
        values.set("key", key.clone().into());
        let done = match read::call(self.workspace, call, &self.calendar, &values, Some(&key)).await {
            Ok(done) => done,
            Err(SendError::Http { error, .. }) => {
                return match self.find().await {
                    Ok(Some(found)) => Ok((found, CreationOutcome::Created)),
                    _ => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let answer = &done.response;
        match answer.error_class {
            None => {
                let item = answer.response.json().unwrap_or_default();
                match self.event_of(&item) {
                    Ok(created) => Ok((created, CreationOutcome::Created)),
                    // It may have been added all the same.
                    Err(error) => self.find().await?.map(|found| (found, CreationOutcome::Created)).ok_or(error),
                }
            }
            Some(_) if answer.response.status == 409 => match self.find().await? {
                Some(found) => Ok((found, CreationOutcome::Existing)),
                None => Err(CalendarError::UsedKey.into()),
            },
            Some(class) => {
                let action = read::action_name(call, &self.calendar);
                Err(refusal_error(&done.session, action, class, &answer.response).into())
            }
        }
    }
}

/// RFC 4648 section 7, in lower case and without padding.
fn base32hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let (mut text, mut bits, mut count) = (String::new(), 0_u32, 0);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(DIGITS[(bits >> count) as usize & 31]));
            bits &= (1 << count) - 1;
        }
    }
    if count > 0 {
        text.push(char::from(DIGITS[(bits << (5 - count)) as usize & 31]));
    }
    text
}

/// Sixteen random bytes as a UUID of version 4 (RFC 9562 section 5.4).
fn uuid(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    bytes.resize(KEY_BYTES, 0);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_services_take_them() {
        // RFC 4648 section 10.
        for (bytes, text) in [("", ""), ("f", "co"), ("fo", "cpng"), ("foo", "cpnmu"), ("foobar", "cpnmuoj1e8")] {
            assert_eq!(base32hex(bytes.as_bytes()), text);
        }
        assert_eq!(uuid(&[0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
