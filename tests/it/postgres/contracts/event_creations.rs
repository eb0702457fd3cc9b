//! What the keys of events that are created do in every store.

use integ::model::Entity;
use integ::model::calendar::{EventCreationAttempt, Interval};
use integ::store::Store;

use super::super::on_both_stores;
use super::at;

#[test]
fn the_first_key_of_an_entity_stays_until_it_is_removed() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let entity: Entity = "appointment/123".parse().unwrap();
        let attempt = |key: &str, start: i64, end: i64| EventCreationAttempt {
            key: key.to_owned(),
            calendar: Some("team".to_owned()),
            window: Interval { start: at(start), end: at(end) },
        };
        let begin = async |store: &dyn Store, new: EventCreationAttempt| {
            store.event_creations().begin(connection, &entity, &new, at(1)).await.unwrap()
        };
        assert_eq!(begin(ours, attempt("one", 100, 200)).await, attempt("one", 100, 200));
        assert_eq!(begin(theirs, attempt("two", 150, 300)).await, attempt("one", 100, 300));
        let creations = theirs.event_creations();
        assert!(!creations.remove(connection, &entity, "two").await.unwrap(), "another attempt's");
        assert!(creations.remove(connection, &entity, "one").await.unwrap());
        assert_eq!(creations.find(connection, &entity).await.unwrap(), None);
        assert_eq!(begin(theirs, attempt("two", 150, 300)).await.key, "two");
        ours.connections().remove(connection).await.unwrap();
        assert_eq!(creations.find(connection, &entity).await.unwrap(), None);
    });
}
