//! What the alerts of every store do.

use integ::model::{Alert, AlertKey, Transition};
use integ::store::Store;

use super::super::on_both_stores;
use super::at;

fn alert(subject: &str, is_over_threshold: bool) -> Alert {
    let key = AlertKey { kind: Transition::QueueAge, subject: subject.to_owned() };
    Alert { key, connection: None, reason: "it waits".to_owned(), is_over_threshold }
}

#[test]
fn an_alert_is_reported_once_by_one_process_until_it_ends() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let settle = async |store: &dyn Store, alerts: &[Alert]| {
            let begun = store.alerts().settle(alerts, at(1)).await.unwrap();
            begun.into_iter().map(|key| key.subject).collect::<Vec<_>>()
        };
        assert_eq!(settle(ours, &[alert("inbox", false)]).await, [""; 0]);
        assert_eq!(settle(ours, &[alert("inbox", true), alert("outbox", true)]).await, ["inbox", "outbox"]);
        assert_eq!(settle(theirs, &[alert("inbox", true), alert("outbox", true)]).await, [""; 0]);
        assert_eq!(settle(theirs, &[alert("inbox", false)]).await, [""; 0], "the outbox is well again");
        assert_eq!(settle(ours, &[alert("inbox", true), alert("outbox", true)]).await, ["outbox"]);
    });
}
