//! Calling the actions that read and write the objects of a binding.

use serde_json::{Map, Value};

use super::{TwoWay, is_identified_by_key};
use crate::api::{self, ActionCall, CompletedCall, Input, SendError, refusal_error};
use crate::clock::Timestamp;
use crate::connector::{ErrorClass, Pointer, any_holds};
use crate::error::{Error, Result};
use crate::http::HttpError;
use crate::json::Json;
use crate::mapping::FieldFailure;
use crate::model::{EntityFields, EntityWrite, Link, MergedObject, WriteKind};
use crate::ops::bindings::BindingOperationError;
use crate::ops::sync::{SyncRange, SyncStreamsRequest, SyncTarget, sync_streams};
use crate::sync::SyncObserver;

/// An object as the service has it.
#[derive(Clone, Debug)]
pub(super) enum ObjectNow {
    Existing {
        /// The record, as JSON.
        json: String,
        /// When it was changed, if it says so.
        changed_at: Option<Timestamp>,
    },
    Deleted,
}

/// What the answer to a write says.
#[derive(Debug)]
pub(super) enum WriteAnswer {
    /// It was done; with the record, if the answer has it.
    Done(Option<Value>),
    NotDone(Error),
    /// It may have been done.
    Unknown(Error),
}

/// A sync without progress output.
pub(super) struct Unwatched;

impl SyncObserver for Unwatched {}

impl TwoWay<'_> {
    /// Reads the object of a link, which follows it if it has another id by now.
    ///
    /// # Errors
    /// The request's.
    pub(super) async fn read_object(&self, link: &mut Link) -> Result<ObjectNow> {
        let mut params = self.identity(link).await?;
        params.extend(self.writing.read_params.clone());
        let Some(record) = self.read_with(&self.writing.read, params).await? else { return Ok(ObjectNow::Deleted) };
        if let Some(id) = self.key_of(&record).filter(|id| id != link.object.id()) {
            self.follow(link, id).await?;
        }
        let changed_at = self.changed_at(&record);
        Ok(ObjectNow::Existing { json: record.to_string(), changed_at })
    }

    /// Calls an action that reads; `None` if what it names does not exist, or is deleted.
    async fn read_with(&self, action: &str, params: Map<String, Value>) -> Result<Option<Value>> {
        let done = self.call(action, params, None).await?;
        let answer = &done.response;
        match answer.error_class {
            None => {}
            Some(ErrorClass::NotFound) => return Ok(None),
            Some(_) if matches!(answer.response.status, 404 | 410) => return Ok(None),
            Some(class) => return Err(refusal_error(&done.session, action, class, &answer.response).into()),
        }
        if let Some(error) = api::malformed_response_error(&done, action) {
            return Err(error.into());
        }
        let record = answer.response.json().unwrap_or_default();
        let stream = self.connector.streams.get(&self.stream);
        let is_deleted = stream.is_some_and(|stream| any_holds(&stream.deleted, &record));
        Ok((!is_deleted).then_some(record))
    }

    /// Finds an object by the value that no two share.
    ///
    /// # Errors
    /// The request's.
    pub(super) async fn look_up(&self, value: &Value) -> Result<Option<Value>> {
        let Some(find) = &self.writing.find else { return Ok(None) };
        let mut params: Map<String, Value> = find.params.clone().into_iter().collect();
        if find.action == self.writing.read {
            params.extend(self.writing.read_params.clone());
        }
        params.insert(find.param.clone(), value.clone());
        self.read_with(&find.action, params).await
    }

    /// Sends a write.
    pub(super) async fn send(&self, write: &EntityWrite) -> WriteAnswer {
        let done = match self.call(&write.action, write.params.clone(), Some(&write.key)).await {
            Ok(done) => done,
            Err(SendError::Http { error, .. }) if matches!(error, HttpError::Connect { .. }) => {
                return WriteAnswer::NotDone(error.into());
            }
            Err(SendError::Http { error, .. }) => return WriteAnswer::Unknown(error.into()),
            // It was never sent.
            Err(error) => return WriteAnswer::NotDone(error.into()),
        };
        let response = &done.response.response;
        let refused = |class| Error::from(refusal_error(&done.session, &write.action, class, response));
        match done.response.error_class {
            None => WriteAnswer::Done(response.json()),
            Some(ErrorClass::NotFound) if write.kind == WriteKind::Delete => WriteAnswer::Done(None),
            // A success that was cut off fails the checks of a success too.
            Some(class) if response.status >= 500 || (response.status < 300 && response.json().is_none()) => {
                WriteAnswer::Unknown(refused(class))
            }
            Some(class) => WriteAnswer::NotDone(refused(class)),
        }
    }

    async fn call(
        &self,
        action: &str,
        params: Map<String, Value>,
        key: Option<&str>,
    ) -> Result<CompletedCall, SendError> {
        let input: Input = params.into_iter().collect();
        let order = ActionCall { connection: &self.connection.name, action, input: &input, idempotency_key: key };
        Box::pin(api::try_call(self.workspace, &order)).await
    }

    /// The parameters that say which object a link is about.
    ///
    /// # Errors
    /// [`BindingOperationError::NoRecord`] if they are of a record that is not stored.
    pub(super) async fn identity(&self, link: &Link) -> Result<Map<String, Value>> {
        let stream = self.connector.streams.get(&self.stream);
        if stream.is_some_and(|stream| is_identified_by_key(stream, &self.writing)) {
            let id = Value::String(link.object.id().to_owned());
            return Ok(self.writing.identity.keys().map(|name| (name.clone(), id.clone())).collect());
        }
        let record = match self.stored_record(link.object.id()).await? {
            Some(record) => Some(record),
            None if self.is_dry_run => None,
            None => {
                self.pull(SyncRange::Incremental).await?;
                self.stored_record(link.object.id()).await?
            }
        };
        let missing = || BindingOperationError::NoRecord {
            origin: format!("{}/{}", self.connection.name, self.stream),
            object: link.object.id().to_owned(),
        };
        let record = record.ok_or_else(missing)?;
        let value = |(name, at): (&String, &Pointer)| Some((name.clone(), at.find(&record)?.clone()));
        Ok(self.writing.identity.iter().map(value).collect::<Option<_>>().ok_or_else(missing)?)
    }

    async fn stored_record(&self, key: &str) -> Result<Option<Value>> {
        let store = self.workspace.store().await?;
        let Some(stream) = store.streams().find(self.connection.id, &self.stream).await? else { return Ok(None) };
        let found = store.records().find(stream.id, key).await?;
        Ok(found.map(|found| Json::from_validated(&found.record.json).value()))
    }

    /// Syncs the stream.
    ///
    /// # Errors
    /// The sync's, and [`BindingOperationError::SyncFailed`] if it did not end well.
    pub(super) async fn pull(&self, range: SyncRange) -> Result<()> {
        let target = SyncTarget { connection: self.connection.name.clone(), stream: Some(self.stream.clone()) };
        let request =
            SyncStreamsRequest { targets: vec![target], range, params: crate::model::StreamParams::default() };
        let synced = Box::pin(sync_streams(self.workspace, request, &Unwatched)).await?;
        match synced.streams.into_iter().find_map(|report| report.error) {
            Some(reason) => {
                let origin = format!("{}/{}", self.connection.name, self.stream);
                Err(BindingOperationError::SyncFailed { origin, reason }.into())
            }
            None => Ok(()),
        }
    }

    /// The key of a record, as the stream's links have it.
    pub(super) fn key_of(&self, record: &Value) -> Option<String> {
        let stream = self.connector.streams.get(&self.stream)?;
        match stream.key.as_slice() {
            [at] => at.text(record),
            parts => {
                let texts: Vec<String> = parts.iter().map(|at| at.text(record)).collect::<Option<_>>()?;
                Some(serde_json::json!(texts).to_string())
            }
        }
    }

    /// When a record was changed, if it says so as a time.
    fn changed_at(&self, record: &Value) -> Option<Timestamp> {
        let at = &self.connector.streams.get(&self.stream)?.incremental.as_ref()?.at;
        let is_creation = at.tokens().last().is_some_and(|name| name.to_lowercase().contains("creat"));
        at.text(record).filter(|_| !is_creation)?.parse().ok()
    }

    /// Moves a link to the id that its object has now; if another link has that already, it is merged into it.
    async fn follow(&self, link: &mut Link, id: String) -> Result<()> {
        if !self.is_dry_run {
            let former_ids = vec![link.object.id().to_owned()];
            let merged = MergedObject { resource: self.stream.clone(), former_ids, id: id.clone() };
            let now = self.workspace.clock.now();
            self.workspace.store().await?.links().follow(self.connection.id, vec![merged], now).await?;
        }
        match self.link_of(&link.entity).await? {
            Some(found) => *link = found,
            None => link.merged_into = Some(id),
        }
        Ok(())
    }

    /// The fields of an object, with null for what the service calls empty.
    pub(super) fn fields(&self, json: &str) -> Result<EntityFields, Vec<FieldFailure>> {
        let mut fields = self.mapper.fields(json)?;
        let empty = &self.writing.empty;
        fields.values_mut().filter(|value| *value == empty).for_each(|value| *value = Value::Null);
        Ok(fields)
    }
}
