//! Creating the object of an entity, once, and linking the two.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::vendor::WriteAnswer;
use super::{Reconciled, TwoWay};
use crate::clock::random;
use crate::error::Result;
use crate::hex;
use crate::mapping::{document_of, failure_text, same};
use crate::model::{
    Entity, EntityFields, EntityState, EntityWrite, Link, LinkInsertResult, LinkedObject, RecordId, WriteKind,
};
use crate::ops::bindings::BindingOperationError;
use crate::ops::sync::SyncRange;
use crate::view::binding::{EntityOutcome, EntityOutcomeView};

/// Records that are read at once.
const PAGE_SIZE: u32 = 1_000;

impl TwoWay<'_> {
    /// Creates an object and links it with its entity, in place of the object that it had.
    ///
    /// # Errors
    /// What every other entity would fail with too, and a failure that leaves open whether it was created.
    pub(super) async fn create(
        &self,
        entity: &Entity,
        ours: EntityFields,
        former: Option<&Link>,
    ) -> Result<Reconciled> {
        let params = self.outbound.parameters(WriteKind::Create, &ours, &BTreeSet::new(), &self.writing.empty);
        let params = match params {
            Ok(params) => params,
            Err(failures) => {
                let mut view = EntityOutcomeView::new(entity, former, EntityOutcome::Failed);
                view.reason = Some(failure_text(&failures));
                return Ok(Reconciled::of(view));
            }
        };
        if self.is_dry_run {
            let mut view = EntityOutcomeView::new(entity, None, EntityOutcome::Created);
            view.document = Some(document_of(&ours));
            return Ok(Reconciled::of(view));
        }
        let write = EntityWrite {
            of: self.bound(entity),
            kind: WriteKind::Create,
            link: None,
            action: self.writing.create.clone(),
            params,
            key: hex::encode(&random::<16>()),
            fields: ours,
            started_at: self.workspace.clock.now(),
        };
        let store = self.workspace.store().await?;
        store.entity_states().begin_write(&write).await?;
        if let Some(former) = former {
            store.links().remove(former.id).await?;
        }
        Box::pin(self.send_creation(&write)).await
    }

    /// Asks the service to create an object, and links it.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub(super) async fn send_creation(&self, write: &EntityWrite) -> Result<Reconciled> {
        let entity = &write.of.entity;
        match self.send(write).await {
            WriteAnswer::Done(record) => match record.and_then(|record| self.key_of(&record)) {
                Some(key) => self.link_created(write, &key, None, EntityOutcome::Created).await,
                None => Err(BindingOperationError::NoKey { action: write.action.clone() }.into()),
            },
            WriteAnswer::NotDone(error) => {
                self.workspace.store().await?.entity_states().cancel_write(write).await?;
                self.failed(entity, None, error)
            }
            WriteAnswer::Unknown(error) => Err(error),
        }
    }

    /// Links the object that a write has created, and ends the write. `theirs` are its fields if it was found rather than just
    /// created.
    pub(super) async fn link_created(
        &self,
        write: &EntityWrite,
        key: &str,
        theirs: Option<&EntityFields>,
        outcome: EntityOutcome,
    ) -> Result<Reconciled> {
        let (store, now) = (self.workspace.store().await?, self.workspace.clock.now());
        let created = self.outbound.created_fields();
        let is_agreed = |(name, ours): &(&String, &Value)| match theirs {
            Some(theirs) => theirs.get(*name).is_some_and(|theirs| same(theirs, ours)),
            None => created.contains(*name),
        };
        let mut agreed: EntityFields =
            write.fields.iter().filter(is_agreed).map(|(name, value)| (name.clone(), value.clone())).collect();
        if theirs.is_none() {
            // It was created without the others, whatever the service makes of them.
            created.iter().for_each(|name| _ = agreed.entry(name.clone()).or_insert(Value::Null));
        }
        let state = EntityState {
            agreed,
            ours: write.fields.clone(),
            ours_changed_at: Some(write.started_at),
            seen_version: store.version().await?,
            ..EntityState::default()
        };
        let object = LinkedObject::new(&self.stream, key)?;
        for _ in 0..2 {
            match store.entity_states().end_creation(write, object.clone(), &state, now).await? {
                LinkInsertResult::Added(link) | LinkInsertResult::Unchanged(link) => {
                    let mut view = EntityOutcomeView::new(&write.of.entity, Some(&link), outcome);
                    view.document = Some(document_of(&state.ours));
                    return Ok(Reconciled::of(view));
                }
                // The object that it had is deleted: it is what this one replaces.
                LinkInsertResult::EntityLinked(former) => _ = store.links().remove(former.id).await?,
                LinkInsertResult::ObjectLinked(other) => {
                    store.entity_states().cancel_write(write).await?;
                    let mut view = EntityOutcomeView::new(&write.of.entity, None, EntityOutcome::Failed);
                    view.reason = Some(format!("{} {key} is already linked with {}", self.stream, other.entity));
                    return Ok(Reconciled::of(view));
                }
            }
        }
        Err(BindingOperationError::NoKey { action: write.action.clone() }.into())
    }

    /// The key and the fields of an object that has the values of the identifying fields, if there is one.
    ///
    /// # Errors
    /// Those of the requests.
    pub(super) async fn find_equal(&self, ours: &EntityFields) -> Result<Option<(String, EntityFields)>> {
        let identify = self.rules.identify.as_slice();
        match (identify, &self.find_field) {
            ([], _) => Ok(None),
            ([only], Some(field)) if only == field => self.find_by(ours, field).await,
            _ => self.find_listed(ours).await,
        }
    }

    /// Finds an object by the field that the service finds objects by.
    pub(super) async fn find_by(&self, ours: &EntityFields, field: &str) -> Result<Option<(String, EntityFields)>> {
        let Some(value) = ours.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
        let Some(record) = Box::pin(self.look_up(value)).await? else { return Ok(None) };
        let fields = self.fields(&record.to_string()).unwrap_or_default();
        Ok(self.key_of(&record).map(|key| (key, fields)))
    }

    /// Finds an object among the records of the stream, which is synced before.
    pub(super) async fn find_listed(&self, ours: &EntityFields) -> Result<Option<(String, EntityFields)>> {
        let Some(values) = self.identifying_values(ours) else { return Ok(None) };
        let listed = self.listed.get_or_try_init(|| self.list_objects()).await?;
        let Some(key) = listed.get(&values) else { return Ok(None) };
        let store = self.workspace.store().await?;
        let Some(stream) = store.streams().find(self.connection.id, &self.stream).await? else { return Ok(None) };
        let Some(found) = store.records().find(stream.id, key).await? else { return Ok(None) };
        Ok(Some((key.clone(), self.fields(&found.record.json).unwrap_or_default())))
    }

    async fn list_objects(&self) -> Result<HashMap<String, String>> {
        if !self.is_dry_run {
            self.pull(SyncRange::Incremental).await?;
        }
        let store = self.workspace.store().await?;
        let mut listed = HashMap::new();
        let Some(stream) = store.streams().find(self.connection.id, &self.stream).await? else { return Ok(listed) };
        let mut after = RecordId(0);
        loop {
            let page = store.records().list(stream.id, after, PAGE_SIZE).await?;
            let Some(last) = page.last() else { return Ok(listed) };
            after = last.id;
            for record in page {
                // What cannot be mapped has no values to be found by.
                let values = self.fields(&record.json).ok().and_then(|fields| self.identifying_values(&fields));
                listed.extend(values.map(|values| (values, record.key)));
            }
        }
    }

    /// The values of the identifying fields as one text; `None` if one is missing.
    fn identifying_values(&self, fields: &EntityFields) -> Option<String> {
        let value = |name: &String| fields.get(name).filter(|value| !value.is_null());
        let values: Option<Vec<&Value>> = self.rules.identify.iter().map(value).collect();
        values.filter(|values| !values.is_empty()).map(|values| serde_json::json!(values).to_string())
    }
}
