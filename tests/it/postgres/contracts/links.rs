//! What the links of every store do.

use integ::model::{ConnectionId, Link, LinkFilter, LinkId, LinkInsertResult, LinkedObject, MergedObject, NewLink};
use integ::store::{Store, StoreError};

use super::super::on_both_stores;
use super::at;

fn link(connection: ConnectionId, user: &str, entity: &str, object: &str) -> NewLink {
    NewLink {
        user: user.parse().ok(),
        entity: entity.parse().unwrap(),
        connection,
        object: LinkedObject::new("contacts", object).unwrap(),
    }
}

async fn listed(store: &dyn Store) -> Vec<String> {
    let links = store.links().list(&LinkFilter::default(), LinkId(0), 100).await.unwrap();
    let shown = |link: Link| {
        let merged = link.merged_into.map(|id| format!(" into {id}")).unwrap_or_default();
        format!("{} {}{merged}", link.entity, link.object.id())
    };
    links.into_iter().map(shown).collect()
}

#[test]
fn each_side_is_linked_once() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let insert = async |link: NewLink| other.links().insert(vec![link], at(1)).await.unwrap().remove(0);
        assert!(matches!(insert(link(connection, "", "customer/1", "a")).await, LinkInsertResult::Added(_)));
        assert!(matches!(insert(link(connection, "", "customer/1", "a")).await, LinkInsertResult::Unchanged(_)));
        let taken = insert(link(connection, "", "customer/1", "b")).await;
        assert!(matches!(taken, LinkInsertResult::EntityLinked(link) if link.object.id() == "a"));
        let taken = insert(link(connection, "", "customer/2", "a")).await;
        assert!(matches!(taken, LinkInsertResult::ObjectLinked(link) if link.entity.id() == "1"));
        // Another user's entity of the same name is another entity, and the object still has one entity.
        assert!(matches!(insert(link(connection, "u", "customer/1", "b")).await, LinkInsertResult::Added(_)));
        assert!(matches!(insert(link(connection, "v", "customer/9", "b")).await, LinkInsertResult::ObjectLinked(_)));
        let of_object = LinkFilter { object_id: Some("b".into()), ..Default::default() };
        let found = store.links().list(&of_object, LinkId(0), 9).await.unwrap();
        assert_eq!(found[0].user.as_ref().unwrap().as_str(), "u");
        let removed = other.links().insert(vec![link(ConnectionId(99), "", "a/1", "x")], at(1)).await;
        assert!(matches!(removed, Err(StoreError::ConnectionNotFound)));
    });
}

#[test]
fn links_follow_objects_that_merge() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let connection = subject.connect("github").await.id;
        let all = [("customer/1", "a"), ("customer/2", "b"), ("customer/3", "c")];
        let links = all.map(|(entity, object)| link(connection, "", entity, object));
        store.links().insert(links.to_vec(), at(1)).await.unwrap();
        let merge = |former: &[&str], id: &str| {
            let former_ids = former.iter().map(ToString::to_string).collect();
            let merged = MergedObject { resource: "contacts".to_owned(), former_ids, id: id.to_owned() };
            store.links().follow(connection, vec![merged], at(2))
        };
        assert_eq!(merge(&["a", "b"], "ab").await.unwrap(), 2);
        assert_eq!(listed(store).await, ["customer/1 ab", "customer/2 b into ab", "customer/3 c"]);
        assert_eq!(merge(&["a", "b"], "ab").await.unwrap(), 0);
        // An object that keeps its id takes in another one.
        assert_eq!(merge(&["c", "ab"], "ab").await.unwrap(), 1);
        assert_eq!(listed(store).await, ["customer/1 ab", "customer/2 b into ab", "customer/3 c into ab"]);
        store.connections().remove(connection).await.unwrap();
        assert_eq!(listed(store).await, [""; 0]);
    });
}
