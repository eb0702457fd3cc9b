//! Two-way bindings, between the user's entities and the objects of a service.
//!
//! `push` takes entities that the user's side changed, `sync` looks at both sides, `resolve` settles conflicts. All three
//! hand a linked entity to `reconcile`, which merges the sides ([`crate::mapping::merge`]) and writes what differs;
//! `create` and `delete` are for the others. `vendor` calls the actions.
//!
//! A write is committed as an intent before its request, and the intent is removed with what the answer says. One that is
//! found later was interrupted: `settle` finds out whether it was done before anything else is written of this entity. What
//! the user's side is given is committed once it is printed, so that it is printed again rather than lost.

mod conflicts;
mod create;
mod delete;
mod push;
mod reconcile;
mod resolve;
mod settle;
mod sync;
mod vendor;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use conflicts::list_conflicts;
pub use push::{PushEntitiesRequest, push_entities};
pub use resolve::{Resolution, ResolveEntityRequest, resolve_conflict};
pub use sync::{SyncBindingRequest, sync_binding};
use tokio::sync::OnceCell;

use super::{BindingOperationError, inputs};
use crate::clock::Stopwatch;
use crate::connector::{Action, ActionBody, Connector, ParamKind, ParamLocation, Pointer, RecordWriting, Stream};
use crate::error::{Error, Kind, Result};
use crate::mapping::{BindingSource, Mapper, Outbound, SyncRules, WritableParam, WriteTarget};
use crate::model::{
    Binding, BindingInput, BindingName, BindingOrigin, BoundEntity, Connection, ConnectionName, Entity, EntityDeletion,
    EntityState, Link, LinkFilter, LinkId,
};
use crate::ops::sync::{StreamName, stored_stream};
use crate::runtime::{LockGuard, Workspace};
use crate::store::LockKey;
use crate::view::binding::{EntityOutcome, EntityOutcomeView, EntitySyncView};

/// How long another process that writes entities of the connection is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A two-way binding with one of its connections.
struct TwoWay<'a> {
    workspace: &'a Workspace,
    binding: Binding,
    connection: Connection,
    connector: Arc<Connector>,
    stream: String,
    writing: RecordWriting,
    mapper: Arc<Mapper>,
    outbound: Outbound,
    rules: SyncRules,
    /// The field that holds what objects are found by.
    find_field: Option<String>,
    /// Whether nothing is written.
    is_dry_run: bool,
    /// No other process writes entities of the connection.
    _lock: LockGuard,
    /// Since when it is held. Writes that are found were begun before.
    locked: Stopwatch,
    /// The keys of the stream's records by the values of the fields that identify them.
    listed: OnceCell<HashMap<String, String>>,
}

/// The outcome of an entity, and what is committed once the user's side has it.
struct Reconciled {
    view: EntityOutcomeView,
    then: Option<(LinkId, EntityState)>,
}

impl Reconciled {
    fn of(view: EntityOutcomeView) -> Self {
        Self { view, then: None }
    }
}

impl<'a> TwoWay<'a> {
    /// Opens a binding for a connection; its only one if none is given. Waits until no other process writes entities of the
    /// connection.
    ///
    /// # Errors
    /// [`BindingOperationError`]. In a dry run, [`crate::ops::sync::SyncOperationError::NeverSynced`] if records that are not
    /// stored would be needed.
    async fn open(
        workspace: &'a Workspace,
        name: &BindingName,
        connection: Option<&ConnectionName>,
        is_dry_run: bool,
    ) -> Result<TwoWay<'a>> {
        let binding = super::find(workspace, name).await?;
        let unusable = |source| BindingOperationError::Unusable { name: name.clone(), source };
        let source = BindingSource::parse(&binding.text).map_err(unusable)?;
        let BindingInput::Stream(stream) = binding.origin.input.clone() else {
            return Err(BindingOperationError::NoRecords { name: name.clone(), origin: binding.origin }.into());
        };
        let rules = source.sync.clone().ok_or_else(|| BindingOperationError::NotTwoWay { name: name.clone() })?;
        let connector = workspace.catalogue().get(&binding.origin.connector)?;
        let definition = connector.streams.get(&stream).and_then(|stream| Some((stream, stream.write.as_deref()?)));
        let (definition, writing) = definition
            .map(|(stream, writing)| (stream.clone(), writing.clone()))
            .ok_or_else(|| BindingOperationError::NotWritable { origin: binding.origin.clone() })?;
        let target = write_target(&connector, &definition, &writing);
        let outbound = Outbound::compile(&source, &target).map_err(unusable)?;
        let find_field = match &writing.find {
            Some(find) => source.field_reading(&find.at.tokens().collect::<Vec<_>>()),
            None => None,
        };
        let mapper = Arc::new(Mapper::compile(&source).map_err(unusable)?);
        let connection = chosen_connection(workspace, &binding, &stream, connection).await?;
        let connection = workspace.connection(&connection).await?;
        if is_dry_run && !is_identified_by_key(&definition, &writing) {
            let name = StreamName { connection: connection.name.clone(), stream: stream.clone() };
            stored_stream(workspace, &name).await?;
        }
        let lock = Self::lock(workspace, &connection).await?;
        Ok(Self {
            workspace,
            binding,
            connection,
            connector,
            stream,
            writing,
            mapper,
            outbound,
            rules,
            find_field,
            is_dry_run,
            _lock: lock,
            locked: Stopwatch::start(),
            listed: OnceCell::new(),
        })
    }

    async fn lock(workspace: &Workspace, connection: &Connection) -> Result<LockGuard> {
        let key = LockKey::Entities(connection.id);
        let guard = LockGuard::acquire(workspace.shared_store().await?, &workspace.engine, key, LOCK_TIMEOUT).await?;
        Ok(guard.ok_or_else(|| BindingOperationError::Locked { connection: connection.name.clone() })?)
    }

    fn bound(&self, entity: &Entity) -> BoundEntity {
        BoundEntity {
            binding: self.binding.id,
            connection: self.connection.id,
            user: self.connection.user.clone(),
            entity: entity.clone(),
        }
    }

    async fn link_of(&self, entity: &Entity) -> Result<Option<Link>> {
        let filter = LinkFilter {
            user: self.connection.user.clone(),
            entity_type: Some(entity.kind().to_owned()),
            entity_id: Some(entity.id().to_owned()),
            connection: Some(self.connection.id),
            resource: Some(self.stream.clone()),
            object_id: None,
        };
        let found = self.workspace.store().await?.links().list(&filter, LinkId(0), 10).await?;
        // A filter without a user matches those of all.
        Ok(found.into_iter().find(|link| link.user == self.connection.user))
    }

    /// The names of all fields that an entity has.
    fn field_names(&self) -> BTreeSet<String> {
        self.outbound.field_names()
    }

    /// The outcome of an entity that failed by itself, so that the others go on.
    ///
    /// # Errors
    /// What every other entity would fail with too.
    fn failed(&self, entity: &Entity, link: Option<&Link>, error: Error) -> Result<Reconciled> {
        match error.kind() {
            Kind::AuthNeeded | Kind::Temporary | Kind::Vault | Kind::Interrupted => Err(error),
            _ => {
                let mut view = EntityOutcomeView::new(entity, link, EntityOutcome::Failed);
                view.reason = Some(error.on_one_line());
                Ok(Reconciled::of(view))
            }
        }
    }

    /// Passes on the outcome of an entity, and commits what the user's side now has.
    async fn deliver(
        &self,
        reconciled: Reconciled,
        summary: &mut EntitySyncView,
        each: &mut impl FnMut(EntityOutcomeView) -> Result<()>,
    ) -> Result<()> {
        let Reconciled { view, then } = reconciled;
        summary.count(&view);
        each(view)?;
        if let Some((link, state)) = then.filter(|_| !self.is_dry_run) {
            let store = self.workspace.store().await?;
            store.entity_states().save(self.binding.id, link, &state, self.workspace.clock.now()).await?;
        }
        Ok(())
    }
}

/// Checks the outbound part of a binding before it is stored.
///
/// # Errors
/// [`crate::mapping::BindingError`]; [`BindingOperationError::NotWritable`] and [`BindingOperationError::UnknownMatch`].
pub(super) fn check(workspace: &Workspace, origin: &BindingOrigin, source: &BindingSource) -> Result<()> {
    let Some(rules) = &source.sync else { return Ok(()) };
    let connector = workspace.catalogue().get(&origin.connector)?;
    let stream = match &origin.input {
        BindingInput::Stream(stream) => connector.streams.get(stream),
        BindingInput::Event(_) => None,
    };
    let not_writable = || BindingOperationError::NotWritable { origin: origin.clone() };
    let writing = stream.and_then(|stream| stream.write.as_deref()).ok_or_else(not_writable)?;
    if rules.delete == EntityDeletion::Delete && writing.delete.is_none() {
        return Err(BindingOperationError::NotDeletable { origin: origin.clone() }.into());
    }
    let target = stream.map(|stream| write_target(&connector, stream, writing)).unwrap_or_default();
    let fields = Outbound::compile(source, &target)?.field_names();
    match rules.identify.iter().find(|field| !fields.contains(*field)) {
        Some(field) => Err(BindingOperationError::UnknownMatch { field: field.clone() }.into()),
        None => Ok(()),
    }
}

/// The connection that is meant: the one that is named, or the only one.
async fn chosen_connection(
    workspace: &Workspace,
    binding: &Binding,
    stream: &str,
    named: Option<&ConnectionName>,
) -> Result<ConnectionName> {
    let (name, origin) = (binding.name.clone(), binding.origin.clone());
    if let Some(named) = named {
        if !origin.includes(named) {
            let requested = format!("{named}/{stream}");
            return Err(BindingOperationError::OtherOrigin { name, origin, requested }.into());
        }
        return Ok(named.clone());
    }
    match inputs::connections(workspace, &origin).await?.as_slice() {
        [] => Err(BindingOperationError::NotConnected { origin }.into()),
        [only] => Ok(only.clone()),
        [first, ..] => {
            let example = first.clone();
            Err(BindingOperationError::ConnectionNeeded { name, origin, example }.into())
        }
    }
}

/// Whether the key of a record, which its link has, is all that says which object it is.
fn is_identified_by_key(stream: &Stream, writing: &RecordWriting) -> bool {
    writing.identity.values().all(|at| stream.key == std::slice::from_ref(at))
}

/// The parameters that fields may be written to.
fn write_target(connector: &Connector, stream: &Stream, writing: &RecordWriting) -> WriteTarget {
    let path = |at: &Pointer| at.tokens().collect::<Vec<String>>();
    let of = |name: &str| connector.actions.get(name).map(|action| body_params(connector, action)).unwrap_or_default();
    let mut create = of(&writing.create);
    let action = connector.actions.get(&writing.create);
    // What says where an object is has to be said of a new one as well, if the action takes it.
    for (name, at) in &writing.identity {
        if action.is_some_and(|action| action.params.contains_key(name)) {
            create.push(WritableParam { name: name.clone(), path: path(at), is_object: false });
        }
    }
    let read_only = stream.key.iter().chain(stream.incremental.iter().map(|incremental| &incremental.at));
    WriteTarget { create, update: of(&writing.update), read_only: read_only.map(path).collect() }
}

/// The parameters that an action sends in its body as they are.
fn body_params(connector: &Connector, action: &Action) -> Vec<WritableParam> {
    let is_query = connector.body_format(action) == ActionBody::Query;
    let params = action.params.iter().filter(|(name, param)| {
        let place = connector.param_location(action, name, param);
        let is_sent = place == Some(ParamLocation::Body) || (is_query && place == Some(ParamLocation::Query));
        is_sent && param.wrap.is_none() && param.each.is_none() && param.join.is_none()
    });
    let writable = params.map(|(name, param)| WritableParam {
        name: name.clone(),
        path: connector.wire_name(name, param).tokens().collect(),
        is_object: param.kind == ParamKind::Object,
    });
    writable.collect()
}
