//! What the installed connectors of every store do.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use integ::model::InstalledConnector;

use super::super::on_both_stores;
use super::at;

fn installed(connector: &str, second: i64) -> InstalledConnector {
    InstalledConnector {
        connector: connector.to_owned(),
        sha256: "00".repeat(32),
        source: format!("https://example.com/{connector}.toml"),
        installed_at: at(second),
        installed_by: "tok_1".to_owned(),
        user: "u_1".parse().ok(),
        configuration: BTreeMap::from([("subdomain".to_owned(), "acme".to_owned())]),
    }
}

#[test]
fn a_workspace_has_a_limited_number_of_rows() {
    on_both_stores(async |subject| {
        let (own, other) = (subject.store().installed_connectors(), subject.other().installed_connectors());
        let name = subject.name;
        let (b, a) = (installed("b", 1), installed("a", 2));
        for row in [&b, &a] {
            assert!(own.add(row, 2).await.unwrap(), "{name}");
        }
        assert!(!own.add(&installed("c", 3), 2).await.unwrap(), "{name}");
        assert_eq!(other.list().await.unwrap(), [a.clone(), b], "{name}");
        let again = InstalledConnector { sha256: "11".repeat(32), ..a };
        assert!(own.add(&again, 2).await.unwrap(), "{name}");
        let none = BTreeMap::new();
        assert!(own.configure("a", &none).await.unwrap() && !own.configure("c", &none).await.unwrap(), "{name}");
        let found = other.get("a").await.unwrap();
        assert_eq!(found, Some(InstalledConnector { configuration: none, ..again }), "{name}");
        let users = subject.other().users();
        let user = "u_1".parse().unwrap();
        assert_eq!(users.counts(Some(&user)).await.unwrap().len(), 1, "{name}");
        users.erase(&user, &[]).await.unwrap();
        assert_eq!(users.counts(Some(&user)).await.unwrap(), [], "{name}");
        assert_eq!(own.get("a").await.unwrap().map(|found| found.user), Some(None), "{name}: it outlives its user");
        assert!(own.remove("a").await.unwrap() && !own.remove("a").await.unwrap(), "{name}");
    });
}

#[test]
fn the_limit_holds_for_nodes_that_install_at_once() {
    on_both_stores(async |subject| {
        let added = join_all((0..16).map(async |number: usize| {
            let store = &subject.handles[number % subject.handles.len()];
            store.installed_connectors().add(&installed(&format!("c{number}"), 1), 3).await.unwrap()
        }));
        assert_eq!(added.await.iter().filter(|added| **added).count(), 3, "{}", subject.name);
    });
}
