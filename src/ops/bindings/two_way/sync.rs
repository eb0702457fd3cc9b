//! Both sides of a binding at once: what changed at the service, and what the user's side pushed that is not written yet.

use std::collections::HashSet;

use super::TwoWay;
use super::reconcile::Choices;
use crate::error::Result;
use crate::mapping::{document_of, failure_text};
use crate::model::{BindingName, ConnectionName, EntityState, Link, LinkId, RecordId};
use crate::ops::sync::SyncRange;
use crate::runtime::Workspace;
use crate::view::binding::{EntityOutcome, EntityOutcomeView, EntitySyncView};

/// Links and records that are read at once.
const PAGE_SIZE: u32 = 500;

/// Writes that are settled in one run; the others follow in the next.
const MAX_WRITES: u32 = 10_000;

/// A binding to sync.
#[derive(Clone, Debug)]
pub struct SyncBindingRequest {
    pub name: BindingName,
    /// The only connection of the binding if absent.
    pub connection: Option<ConnectionName>,
    /// Whether to list everything at the service, which also finds what was deleted there.
    pub is_full: bool,
    /// Whether to hand on objects without an entity.
    pub with_new: bool,
    /// Whether to only report what would be done. The stream is then not synced.
    pub is_dry_run: bool,
}

/// Syncs the stream, merges every linked entity that changed on either side, and passes its outcome to `each`.
///
/// # Errors
/// Those of [`super::push_entities`], and those of the sync.
pub async fn sync_binding(
    workspace: &Workspace,
    request: SyncBindingRequest,
    mut each: impl FnMut(EntityOutcomeView) -> Result<()>,
) -> Result<EntitySyncView> {
    let two_way = TwoWay::open(workspace, &request.name, request.connection.as_ref(), request.is_dry_run).await?;
    let mut summary = EntitySyncView::default();
    let mut each = |view: EntityOutcomeView| match view.outcome {
        EntityOutcome::Unchanged => Ok(()),
        _ => each(view),
    };
    let states = workspace.store().await?.entity_states();
    let mut unconfirmed = HashSet::new();
    for write in states.writes(Some(two_way.binding.id), MAX_WRITES).await? {
        if write.of.connection != two_way.connection.id {
            continue;
        }
        let entity = write.of.entity.clone();
        if let Some(outcome) = Box::pin(two_way.settle(write)).await? {
            unconfirmed.insert(entity);
            two_way.deliver(outcome, &mut summary, &mut each).await?;
        }
    }
    if !request.is_dry_run {
        two_way.pull(if request.is_full { SyncRange::Full } else { SyncRange::Incremental }).await?;
    }
    let mut after = LinkId(0);
    loop {
        let (connection, binding) = (two_way.connection.id, two_way.binding.id);
        let page = states.linked(binding, connection, &two_way.stream, after, PAGE_SIZE).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.id;
        for (link, state) in page {
            let is_ours = link.user == two_way.connection.user && !unconfirmed.contains(&link.entity);
            if !is_ours || !two_way.is_due(&link, state.as_ref()).await? {
                continue;
            }
            let state = state.unwrap_or_default();
            let reconciled = Box::pin(two_way.decide(link, &state, &Choices::new())).await?;
            two_way.deliver(reconciled, &mut summary, &mut each).await?;
        }
    }
    if request.with_new {
        two_way.report_new(&mut summary, &mut each).await?;
    }
    Ok(summary)
}

impl TwoWay<'_> {
    /// Whether either side of a link may have changed since it was last looked at.
    async fn is_due(&self, link: &Link, state: Option<&EntityState>) -> Result<bool> {
        let Some(state) = state else { return Ok(true) };
        let is_pending = self.is_pending(state) && !state.is_deleted;
        if is_pending || link.merged_into.is_some() {
            return Ok(true);
        }
        let store = self.workspace.store().await?;
        let Some(stream) = store.streams().find(self.connection.id, &self.stream).await? else { return Ok(false) };
        let found = store.records().find(stream.id, link.object.id()).await?;
        Ok(found.is_some_and(|found| {
            let is_known_deletion = state.is_deleted && found.record.deleted_at.is_some();
            found.record.version > state.seen_version && !is_known_deletion
        }))
    }

    /// Hands on the objects that no entity is linked with.
    async fn report_new(
        &self,
        summary: &mut EntitySyncView,
        each: &mut impl FnMut(EntityOutcomeView) -> Result<()>,
    ) -> Result<()> {
        let store = self.workspace.store().await?;
        let (mut linked, mut after) = (HashSet::new(), LinkId(0));
        loop {
            let states = store.entity_states();
            let page = states.linked(self.binding.id, self.connection.id, &self.stream, after, PAGE_SIZE).await?;
            let Some((last, _)) = page.last() else { break };
            after = last.id;
            linked.extend(page.into_iter().map(|(link, _)| link.object.id().to_owned()));
        }
        let Some(stream) = store.streams().find(self.connection.id, &self.stream).await? else { return Ok(()) };
        let mut after = RecordId(0);
        loop {
            let page = store.records().list(stream.id, after, PAGE_SIZE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for record in page.into_iter().filter(|record| !linked.contains(&record.key)) {
                let mut view = EntityOutcomeView { object: Some(record.key), ..EntityOutcomeView::of_object() };
                match self.fields(&record.json) {
                    Ok(fields) => view.document = Some(document_of(&fields)),
                    Err(failures) => {
                        view.outcome = EntityOutcome::Failed;
                        view.reason = Some(failure_text(&failures));
                    }
                }
                summary.count(&view);
                each(view)?;
            }
        }
    }
}
