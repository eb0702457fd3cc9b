//! What the history of health checks of every store does.

use std::time::Duration;

use integ::model::{ConnectionId, HealthCheck, HealthOutcome};

use super::super::on_both_stores;
use super::at;

fn failed(second: i64) -> HealthCheck {
    HealthCheck {
        duration: Some(Duration::from_millis(120)),
        http_status: Some(503),
        ..HealthCheck::new(at(second), HealthOutcome::Temporary, Some("the vendor answered 503"))
    }
}

#[test]
fn a_check_is_in_the_history_with_the_commit_that_changes_the_connection() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let connection = subject.connect("github").await.id;
        let checks = store.health_checks();
        store.connections().record_check(connection, &failed(10)).await.unwrap();
        let refused = HealthCheck::new(at(20), HealthOutcome::NeedsReauth, Some("revoked"));
        checks.append(connection, &refused).await.unwrap();
        checks.append(ConnectionId(999), &refused).await.unwrap();
        assert_eq!(checks.since(connection, at(0)).await.unwrap(), [failed(10), refused.clone()]);
        assert_eq!(checks.since(connection, at(11)).await.unwrap(), [refused]);
        let all = checks.list(None, None, 10).await.unwrap();
        assert_eq!(all.iter().map(|one| one.check.at).collect::<Vec<_>>(), [at(20), at(10)]);
        let older = checks.list(Some(connection), Some(all[0].id), 10).await.unwrap();
        assert_eq!(older, all[1..]);
        let stored = store.connections().find(&all[0].connection).await.unwrap().unwrap();
        assert_eq!((stored.last_check.unwrap().at, stored.error_count), (at(10), 1));
        store.connections().remove(connection).await.unwrap();
        assert_eq!(checks.list(None, None, 10).await.unwrap(), []);
    });
}

#[test]
fn old_checks_are_removed_in_batches() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let connection = subject.connect("github").await.id;
        let checks = store.health_checks();
        for second in 1..=5 {
            checks.append(connection, &failed(second)).await.unwrap();
        }
        assert_eq!(checks.prune(at(4), 2).await.unwrap(), 2);
        assert_eq!(checks.prune(at(4), 2).await.unwrap(), 1);
        assert_eq!(checks.prune(at(4), 2).await.unwrap(), 0);
        assert_eq!(checks.since(connection, at(0)).await.unwrap(), [failed(4), failed(5)]);
    });
}
