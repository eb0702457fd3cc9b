//! What the entity states of every store do.

use integ::json;
use integ::model::{
    BindingName, BoundEntity, Entity, EntityFields, EntityState, EntityWrite, FieldConflict, LinkFilter, LinkId,
    LinkInsertResult, LinkedObject, OpenConflict, WriteKind,
};
use serde_json::{Value, json};

use super::super::on_both_stores;
use super::at;

fn fields(value: &Value) -> EntityFields {
    value.as_object().unwrap().clone().into_iter().collect()
}

#[test]
fn a_write_is_there_until_it_is_ended() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let name: BindingName = "customer".parse().unwrap();
        store.bindings().put(&name, &"slack/users".parse().unwrap(), "id = .id", at(1)).await.unwrap();
        let binding = store.bindings().find(&name).await.unwrap().unwrap().id;
        let entity: Entity = "customer/1".parse().unwrap();
        let of = BoundEntity { binding, connection, user: None, entity };
        let write = |kind, key: &str, link| EntityWrite {
            of: of.clone(),
            kind,
            link,
            action: "users.create".to_owned(),
            params: json!({"amount": json::parse("12345678901234567890.10").unwrap()}).as_object().unwrap().clone(),
            key: key.to_owned(),
            fields: fields(&json!({"a": 1})),
            started_at: at(5),
        };
        let first = write(WriteKind::Create, "one", None);
        assert_eq!(store.entity_states().begin_write(&first).await.unwrap(), first);
        // Another process finds the one that was begun.
        let second = write(WriteKind::Create, "two", None);
        assert_eq!(other.entity_states().begin_write(&second).await.unwrap(), first);
        other.entity_states().cancel_write(&second).await.unwrap();
        assert_eq!(store.entity_states().writes(Some(binding), 9).await.unwrap(), std::slice::from_ref(&first));
        let state =
            EntityState { agreed: fields(&json!({"a": 1})), ours: fields(&json!({"a": 1})), ..EntityState::default() };
        let object = LinkedObject::new("users", "U1").unwrap();
        let ended = other.entity_states().end_creation(&first, object.clone(), &state, at(6)).await.unwrap();
        let LinkInsertResult::Added(link) = ended else { panic!("{ended:?}") };
        assert_eq!(store.entity_states().find(binding, link.id).await.unwrap(), Some(state.clone()));
        assert_eq!(store.entity_states().find_write(&of).await.unwrap(), None);

        let conflict =
            FieldConflict { field: "a".to_owned(), agreed: Some(json!(1)), ours: Some(json!(2)), theirs: None };
        let state = EntityState { conflicts: vec![conflict.clone()], ours_changed_at: Some(at(7)), ..state };
        store.entity_states().save(binding, link.id, &state, at(7)).await.unwrap();
        let open = store.entity_states().conflicts(None, 9).await.unwrap();
        assert_eq!(open, [(binding, OpenConflict { link: link.clone(), conflict })]);
        let linked = store.entity_states().linked(binding, connection, "users", LinkId(0), 9).await.unwrap();
        assert_eq!(linked, [(link.clone(), Some(state))]);

        let deletion = write(WriteKind::Delete, "three", Some(link.id));
        store.entity_states().begin_write(&deletion).await.unwrap();
        store.entity_states().end_write(&deletion, None, at(8)).await.unwrap();
        assert!(store.links().list(&LinkFilter::default(), LinkId(0), 9).await.unwrap().is_empty());
        assert!(store.entity_states().find(binding, link.id).await.unwrap().is_none());
        store.entity_states().begin_write(&first).await.unwrap();
        store.bindings().remove(&name).await.unwrap();
        assert!(store.entity_states().writes(None, 9).await.unwrap().is_empty());
    });
}
