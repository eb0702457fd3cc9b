//! Entities that the user's side changed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reconcile::Choices;
use super::{Reconciled, TwoWay};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::json;
use crate::mapping::fields_of;
use crate::model::{BindingName, ConnectionName, Entity, LinkInsertResult, LinkedObject, NewLink};
use crate::ops::bindings::BindingOperationError;
use crate::runtime::Workspace;
use crate::view::binding::{EntityOutcome, EntityOutcomeView, EntitySyncView};

/// Entities to push.
#[derive(Clone, Debug)]
pub struct PushEntitiesRequest {
    pub name: BindingName,
    /// The only connection of the binding if absent.
    pub connection: Option<ConnectionName>,
    /// One JSON object per line, with `entity` and `document`, optionally `object`, `deleted` and `changed_at`.
    pub text: String,
    /// Whether to only report what would be done.
    pub is_dry_run: bool,
}

/// An entity of a line.
#[derive(Clone, Debug)]
pub(super) struct PushedEntity {
    entity: Entity,
    /// What the user's side has; fields that are absent are as they were.
    pub(super) document: Option<Value>,
    /// The object that it is to be linked with, if it has none.
    object: Option<String>,
    is_deleted: bool,
    /// When it was changed, or deleted.
    pub(super) changed_at: Option<Timestamp>,
}

/// Takes over changes of the user's entities, writes the differences to the service, and passes the outcome of each to `each`.
/// For a new entity, an object and a link are created.
///
/// # Errors
/// [`BindingOperationError`]; what all entities would fail with, such as a grant that was revoked. What was done before stays
/// done, and the same push can be repeated.
pub async fn push_entities(
    workspace: &Workspace,
    request: PushEntitiesRequest,
    mut each: impl FnMut(EntityOutcomeView) -> Result<()>,
) -> Result<EntitySyncView> {
    let entities = parse(&request.text)?;
    let two_way = TwoWay::open(workspace, &request.name, request.connection.as_ref(), request.is_dry_run).await?;
    let mut summary = EntitySyncView::default();
    for pushed in &entities {
        let reconciled = Box::pin(two_way.push(pushed)).await?;
        two_way.deliver(reconciled, &mut summary, &mut each).await?;
    }
    Ok(summary)
}

impl TwoWay<'_> {
    async fn push(&self, pushed: &PushedEntity) -> Result<Reconciled> {
        let (entity, store) = (&pushed.entity, self.workspace.store().await?);
        if let Some(write) = store.entity_states().find_write(&self.bound(entity)).await?
            && let Some(outcome) = Box::pin(self.settle(write)).await?
        {
            return Ok(outcome);
        }
        let choices = Choices::new();
        let link = match self.link_of(entity).await? {
            Some(link) if pushed.is_deleted => return Box::pin(self.delete(link, Some(pushed), &choices)).await,
            None if pushed.is_deleted => {
                return Ok(Reconciled::of(EntityOutcomeView::new(entity, None, EntityOutcome::Unchanged)));
            }
            link => link,
        };
        if let Some(link) = link {
            return Box::pin(self.reconcile(link, Some(pushed), &choices)).await;
        }
        let names = self.field_names();
        let fields = pushed.document.as_ref().map(|document| fields_of(document, &names)).unwrap_or_default();
        let existing = match &pushed.object {
            Some(object) => Some(object.clone()),
            None => match Box::pin(self.find_equal(&fields)).await {
                Ok(found) => found.map(|(key, _)| key),
                Err(error) => return self.failed(entity, None, error),
            },
        };
        match existing {
            Some(key) => Box::pin(self.push_to_existing(pushed, &key)).await,
            None => Box::pin(self.create(entity, fields, None)).await,
        }
    }

    /// Links an entity with an existing object, and merges the two.
    async fn push_to_existing(&self, pushed: &PushedEntity, key: &str) -> Result<Reconciled> {
        let entity = &pushed.entity;
        if self.is_dry_run {
            let mut view = EntityOutcomeView::new(entity, None, EntityOutcome::Linked);
            view.object = Some(key.to_owned());
            return Ok(Reconciled::of(view));
        }
        let (user, connection) = (self.connection.user.clone(), self.connection.id);
        let object = LinkedObject::new(&self.stream, key)?;
        let link = NewLink { user, entity: entity.clone(), connection, object };
        let (store, now) = (self.workspace.store().await?, self.workspace.clock.now());
        match store.links().insert(vec![link], now).await?.pop() {
            Some(
                LinkInsertResult::Added(link)
                | LinkInsertResult::Unchanged(link)
                | LinkInsertResult::EntityLinked(link),
            ) => {
                let mut reconciled = Box::pin(self.reconcile(link, Some(pushed), &Choices::new())).await?;
                if matches!(reconciled.view.outcome, EntityOutcome::Unchanged | EntityOutcome::Changed) {
                    reconciled.view.outcome = EntityOutcome::Linked;
                }
                Ok(reconciled)
            }
            Some(LinkInsertResult::ObjectLinked(other)) => {
                let mut view = EntityOutcomeView::new(entity, None, EntityOutcome::Failed);
                view.reason = Some(format!("{} {key} is already linked with {}", self.stream, other.entity));
                Ok(Reconciled::of(view))
            }
            None => Err(BindingOperationError::NotConnected { origin: self.binding.origin.clone() }.into()),
        }
    }
}

/// The keys of a line.
const MEMBERS: [&str; 5] = ["entity", "document", "object", "deleted", "changed_at"];

/// The entities of a text; nothing is pushed if a line is wrong.
fn parse(text: &str) -> Result<Vec<PushedEntity>> {
    let (mut entities, mut seen) = (Vec::new(), BTreeSet::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let wrong = |problem: String| BindingOperationError::InvalidEntity { line, problem };
        let entity = parse_line(text).map_err(wrong)?;
        if !seen.insert(entity.entity.clone()) {
            return Err(wrong(format!("{} is listed twice", entity.entity)).into());
        }
        entities.push(entity);
    }
    Ok(entities)
}

fn parse_line(text: &str) -> Result<PushedEntity, String> {
    let Value::Object(members) = json::parse(text.trim()).map_err(|error| error.to_string())? else {
        return Err("not a JSON object".to_owned());
    };
    if let Some(name) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format!("unknown key {name:?}; use {}", MEMBERS.join(", ")));
    }
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is not a string")),
    };
    let entity = text("entity")?.ok_or("entity is missing")?;
    let entity: Entity = entity.parse().map_err(|_| format!("invalid entity {entity:?}; use TYPE/ID"))?;
    let document = match members.get("document") {
        None | Some(Value::Null) => None,
        Some(document @ Value::Object(_)) => Some(document.clone()),
        Some(_) => return Err("document is not a JSON object".to_owned()),
    };
    let is_deleted = match members.get("deleted") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_deleted)) => *is_deleted,
        Some(_) => return Err("deleted is not true or false".to_owned()),
    };
    if document.is_none() && !is_deleted {
        return Err("document is missing".to_owned());
    }
    let changed_at = match text("changed_at")? {
        Some(time) => Some(time.parse().map_err(|_| format!("invalid time {time:?} in changed_at; use RFC 3339"))?),
        None => None,
    };
    Ok(PushedEntity { entity, document, object: text("object")?, is_deleted, changed_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_entity() {
        let line = r#"{"entity": "customer/42", "document": {"a": 1.10}, "changed_at": "2026-11-29T10:00:00+01:00"}"#;
        let pushed = parse_line(line).unwrap();
        assert_eq!(pushed.document.unwrap().to_string(), "{\"a\":1.10}");
        assert_eq!(pushed.changed_at.unwrap().to_string(), "2026-11-29T09:00:00Z");
        assert!(parse_line(r#"{"entity": "customer/42", "deleted": true}"#).unwrap().is_deleted);
        for (line, problem) in [
            ("[]", "not a JSON object"),
            ("{}", "entity is missing"),
            (r#"{"entity": "customer"}"#, "invalid entity \"customer\"; use TYPE/ID"),
            (r#"{"entity": "customer/1"}"#, "document is missing"),
            (r#"{"entity": "customer/1", "document": 1}"#, "document is not a JSON object"),
            (
                r#"{"entity": "customer/1", "email": "a@b.c"}"#,
                "unknown key \"email\"; use entity, document, object, deleted, changed_at",
            ),
            (
                r#"{"entity": "customer/1", "deleted": true, "changed_at": "soon"}"#,
                "invalid time \"soon\" in changed_at; use RFC 3339",
            ),
        ] {
            assert_eq!(parse_line(line).unwrap_err(), problem);
        }
        let twice = "{\"entity\": \"a/1\", \"deleted\": true}\n\n{\"entity\": \"a/1\", \"deleted\": true}";
        assert_eq!(parse(twice).unwrap_err().message(), "line 3: a/1 is listed twice");
    }
}
