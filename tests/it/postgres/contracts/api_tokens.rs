//! What the tokens of the HTTP API of every store do.

use std::time::Duration;

use integ::clock::Timestamp;
use integ::model::{
    ApiToken, ApiTokenHash, ApiTokenId, ApiTokenText, ApprovalPolicy, ConnectionId, RateTier, ScopeGrant,
};
use integ::store::{ApiTokenRotation, ApiTokenWrite, Store, StoreError};

use super::super::on_both_stores;
use super::at;

pub(super) fn token(name: &str, parent: Option<&ApiToken>) -> ApiToken {
    let id = ApiTokenId::random();
    ApiToken {
        name: name.parse().unwrap(),
        user: Some("u_1".parse().unwrap()),
        scopes: vec![ScopeGrant::known("connections:read").unwrap(), ScopeGrant::known("write:*").unwrap()],
        connections: None,
        tier: RateTier::Pro,
        created_at: at(1),
        rotated_at: at(1),
        expires_at: at(1000),
        last_used_at: None,
        is_enabled: true,
        parent: parent.map(|parent| parent.id.clone()),
        root: parent.map_or_else(|| id.clone(), |parent| parent.root.clone()),
        rotate_after: Some(Duration::from_secs(90)),
        approve: ApprovalPolicy::Destroy,
        trust: None,
        id,
    }
}

pub(super) async fn add(store: &dyn Store, token: &ApiToken) -> ApiTokenHash {
    let hash = ApiTokenText::random().hash();
    assert_eq!(store.api_tokens().insert(token, &hash).await.unwrap(), ApiTokenWrite::Stored);
    hash
}

#[test]
fn a_token_is_read_as_it_was_stored() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let limited = ApiToken { connections: Some(vec![connection]), ..token("ci", None) };
        let hash = add(store, &limited).await;
        let tokens = other.api_tokens();
        assert_eq!(tokens.find(&limited.id).await.unwrap(), Some(limited.clone()));
        assert_eq!(tokens.list().await.unwrap(), std::slice::from_ref(&limited));
        let found = tokens.find_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!((found.token, found.hash.matches(&hash), found.previous), (limited.clone(), true, None));
        assert!(tokens.find_by_hash(&ApiTokenText::random().hash()).await.unwrap().is_none());

        let again = tokens.insert(&token("ci", None), &ApiTokenText::random().hash()).await.unwrap();
        assert_eq!(again, ApiTokenWrite::NameTaken);
        let orphan = token("orphan", Some(&token("never stored", None)));
        let orphan = tokens.insert(&orphan, &ApiTokenText::random().hash()).await.unwrap();
        assert_eq!(orphan, ApiTokenWrite::Conflict);
        let lost = ApiToken { connections: Some(vec![ConnectionId(99)]), ..token("lost", None) };
        let lost = tokens.insert(&lost, &ApiTokenText::random().hash()).await;
        assert!(matches!(lost, Err(StoreError::ConnectionNotFound)));
    });
}

#[test]
fn a_change_is_made_to_the_token_that_was_read_and_to_no_later_one() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let old = token("ci", None);
        add(store, &old).await;
        add(store, &token("app", None)).await;
        let tokens = store.api_tokens();
        tokens.record_use(&old.id, at(100)).await.unwrap();
        let new = ApiToken { connections: Some(vec![connection]), tier: RateTier::Free, ..old.clone() };
        // Its last use does not count as a change.
        assert_eq!(other.api_tokens().replace(&old, &new).await.unwrap(), ApiTokenWrite::Stored);
        let stored = tokens.find(&old.id).await.unwrap().unwrap();
        assert_eq!(stored, ApiToken { last_used_at: Some(at(100)), ..new.clone() });
        let late = ApiToken { name: "late".parse().unwrap(), ..old.clone() };
        assert_eq!(tokens.replace(&old, &late).await.unwrap(), ApiTokenWrite::Conflict);
        let taken = ApiToken { name: "app".parse().unwrap(), ..new.clone() };
        assert_eq!(tokens.replace(&new, &taken).await.unwrap(), ApiTokenWrite::NameTaken);
        let unlimited = ApiToken { connections: None, ..new.clone() };
        assert_eq!(tokens.replace(&new, &unlimited).await.unwrap(), ApiTokenWrite::Stored);
        assert_eq!(tokens.find(&old.id).await.unwrap().unwrap().connections, None);
        assert!(tokens.find(&old.id).await.unwrap().unwrap().is_enabled);
    });
}

#[test]
fn a_token_without_its_last_connection_is_disabled_and_allows_none() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let first = subject.connect("github").await.id;
        let second = subject.connect("github@b").await.id;
        let limited = ApiToken { connections: Some(vec![first, second]), ..token("ci", None) };
        let (hash, free) = (add(store, &limited).await, token("all", None));
        add(store, &free).await;
        store.connections().remove(first).await.unwrap();
        let stored = store.api_tokens().find(&limited.id).await.unwrap().unwrap();
        assert_eq!((stored.connections, stored.is_enabled), (Some(vec![second]), true));
        store.connections().remove(second).await.unwrap();
        let stored = store.api_tokens().find(&limited.id).await.unwrap().unwrap();
        assert_eq!((stored.connections.as_deref(), stored.is_enabled), (Some(&[][..]), false));
        assert!(!stored.allows_connection(second) && !stored.allows_connection(ConnectionId(3)));
        let found = store.api_tokens().find_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!(found.effective(&hash, at(2)), None);
        assert_eq!(store.api_tokens().find(&free.id).await.unwrap(), Some(free));
    });
}

#[test]
fn rotating_replaces_the_text_at_once_or_after_a_while() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let old = token("ci", None);
        let first = add(store, &old).await;
        let [second, third] = [(); 2].map(|()| ApiTokenText::random().hash());
        let rotate = |hash, until: Option<i64>| {
            let (rotated_at, expires_at) = (at(10), at(2000));
            let rotation = ApiTokenRotation { hash, rotated_at, expires_at, previous_until: until.map(at) };
            let (store, id) = (store, old.id.clone());
            async move { store.api_tokens().rotate(&id, &rotation).await.unwrap() }
        };
        let valid = |hash: ApiTokenHash, second: i64| {
            let store = &store;
            async move {
                let found = store.api_tokens().find_by_hash(&hash).await.unwrap();
                found.and_then(|found| found.effective(&hash, at(second))).is_some()
            }
        };
        let rotated = rotate(second, Some(20)).await.unwrap();
        assert_eq!(rotated, ApiToken { rotated_at: at(10), expires_at: at(2000), ..old.clone() });
        assert!(valid(second, 10).await && valid(first, 19).await && !valid(first, 20).await);
        rotate(third, None).await.unwrap();
        assert!(valid(third, 10).await && !valid(second, 10).await && !valid(first, 10).await);
        store.api_tokens().revoke(&old.id).await.unwrap();
        assert!(rotate(first, None).await.is_none());
    });
}

#[test]
fn revoking_a_token_revokes_what_it_led_to() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let root = token("root", None);
        let child = token("child", Some(&root));
        let grandchild = token("a grandchild", Some(&child));
        let sibling = token("sibling", Some(&root));
        let foreign = token("foreign", None);
        for token in [&root, &child, &sibling, &foreign] {
            add(store, token).await;
        }
        let hash = add(store, &grandchild).await;
        let found = store.api_tokens().find_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!(found.ancestors, [child.clone(), root.clone()]);
        let now = at(5);
        store.api_tokens().admit(&root.id, now, 1, Duration::from_secs(60)).await.unwrap().unwrap();

        assert_eq!(other.api_tokens().revoke(&child.id).await.unwrap(), [child.clone(), grandchild]);
        assert!(store.api_tokens().find_by_hash(&hash).await.unwrap().is_none());
        assert_eq!(store.api_tokens().revoke(&child.id).await.unwrap(), []);
        assert_eq!(store.api_tokens().revoke(&root.id).await.unwrap(), [root.clone(), sibling]);
        assert_eq!(store.api_tokens().list().await.unwrap(), [foreign]);
        assert_eq!(store.api_tokens().admit(&root.id, now, 9, Duration::from_secs(60)).await.unwrap(), None);
    });
}

#[test]
fn the_last_use_is_written_once_a_minute() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let token = token("ci", None);
        add(store, &token).await;
        for (second, recorded) in [(100, 100), (159, 100), (160, 160), (50, 50), (60, 50)] {
            store.api_tokens().record_use(&token.id, at(second)).await.unwrap();
            let stored = store.api_tokens().find(&token.id).await.unwrap().unwrap();
            assert_eq!(stored.last_used_at, Some(at(recorded)), "{second}");
        }
    });
}

#[test]
fn of_many_requests_at_once_through_two_stores_exactly_the_limit_is_admitted() {
    on_both_stores(async |subject| {
        let stores = subject.handles.clone();
        let token = token("ci", None);
        add(&*stores[0], &token).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200_usize {
            let (stores, id) = (stores.clone(), token.id.clone());
            tasks.spawn(async move {
                let now = Timestamp::from_microsecond(1_000_000_000 + number as i64).unwrap();
                let tokens = stores[number % 2].api_tokens();
                tokens.admit(&id, now, 60, Duration::from_secs(60)).await.unwrap().unwrap().is_allowed
            });
        }
        let admitted = tasks.join_all().await.into_iter().filter(|is_allowed| *is_allowed).count();
        assert_eq!(admitted, 60);
    });
}
