//! What the bindings of every store do.

use integ::model::{BindingChange, BindingName, BindingOrigin, BindingResults, BoundInput, EventId, RecordId};

use super::super::on_both_stores;
use super::at;

#[test]
fn a_binding_is_replaced_and_outlives_its_connections() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let name: BindingName = "customer".parse().unwrap();
        let origin: BindingOrigin = "slack@work/users".parse().unwrap();
        let put = async |text: &str| store.bindings().put(&name, &origin, text, at(1)).await.unwrap();
        assert_eq!(put("id = .id").await, BindingChange::Added);
        assert_eq!(put("id = .id").await, BindingChange::Unchanged);
        assert_eq!(put("id = .key").await, BindingChange::Changed);
        store.connections().remove(connection).await.unwrap();
        let found = other.bindings().find(&name).await.unwrap().unwrap();
        assert_eq!((found.text.as_str(), &found.origin, found.failures), ("id = .key", &origin, 0));
        // Failures of records that do not exist are not stored.
        let results = BindingResults {
            failed: vec![(BoundInput::Record(RecordId(9)), "why".to_owned())],
            succeeded: vec![BoundInput::Event(EventId(1))],
        };
        store.bindings().record_results(found.id, results, at(2)).await.unwrap();
        assert!(other.bindings().failures(found.id, 10).await.unwrap().is_empty());
        assert!(other.bindings().remove(&name).await.unwrap() && !other.bindings().remove(&name).await.unwrap());
    });
}
