//! Approvals in the store: each matches one request of one token, once.

use std::sync::Arc;

use super::super::api_tokens::tests::{add, token};
use super::super::endpoints::tests::{at, opened};
use super::*;
use crate::model::{ApiTokenId, Effect};
use crate::store::Store;

fn request(token: &ApiTokenId, digest: u8) -> ApprovalRequest {
    ApprovalRequest {
        token: Some(token.clone()),
        operation: "disconnect".to_owned(),
        effect: Effect::Destroy,
        connection: Some("slack@work".parse().unwrap()),
        digest: [digest; 32],
        summary: "disconnect: DELETE /v1/connections/slack@work".to_owned(),
        request: "{}".to_owned(),
    }
}

fn pending(token: &ApiTokenId, digest: u8, second: i64) -> Approval {
    Approval::pending(request(token, digest), at(second))
}

const ONCE: ApprovalUse = ApprovalUse::Once;

async fn grant(store: &SqliteStore, approval: &Approval, use_limit: ApprovalUse, until: i64) -> Option<Approval> {
    let decision = ApprovalDecision::Grant { use_limit, expires_at: at(until) };
    store.approvals().decide(&approval.id, decision, at(10)).await.unwrap()
}

async fn claim(store: &SqliteStore, token: &ApiTokenId, digest: u8, second: i64) -> ApprovalClaim {
    store.approvals().claim(&pending(token, digest, second), at(second)).await.unwrap()
}

#[tokio::test]
async fn a_repeated_request_waits_for_the_same_approval() {
    let (_folder, [store, other]) = opened();
    let (one, two) = (token("one", None), token("two", None));
    add(&store, &one).await;
    add(&store, &two).await;
    let first = pending(&one.id, 1, 5);
    let asked = store.approvals().claim(&first, at(5)).await.unwrap();
    assert_eq!(asked, ApprovalClaim::Pending { approval: first.clone(), is_new: true });
    let again = other.approvals().claim(&pending(&one.id, 1, 6), at(6)).await.unwrap();
    assert_eq!(again, ApprovalClaim::Pending { approval: first.clone(), is_new: false });
    assert_eq!(other.approvals().find(&first.id).await.unwrap(), Some(first.clone()));
    // Another request, and the same one of another token.
    for (token, digest) in [(&one.id, 2), (&two.id, 1)] {
        assert!(matches!(claim(&store, token, digest, 7).await, ApprovalClaim::Pending { is_new: true, .. }));
    }
    let listed = store.approvals().list(None, 2).await.unwrap();
    assert_eq!(listed.len(), 2);
    let rest = store.approvals().list(Some(&listed[1].id), 10).await.unwrap();
    assert_eq!(rest, [first]);
}

#[tokio::test]
async fn a_grant_is_for_one_token_and_one_request_once() {
    let (_folder, [store]) = opened();
    let (one, two) = (token("one", None), token("two", None));
    add(&store, &one).await;
    add(&store, &two).await;
    let approval = pending(&one.id, 1, 5);
    store.approvals().claim(&approval, at(5)).await.unwrap();
    let granted = grant(&store, &approval, ONCE, 100).await.unwrap();
    assert_eq!(
        (granted.status, granted.decided_at, granted.expires_at),
        (ApprovalStatus::Granted, Some(at(10)), at(100))
    );
    assert!(matches!(claim(&store, &two.id, 1, 20).await, ApprovalClaim::Pending { is_new: true, .. }));
    assert!(matches!(claim(&store, &one.id, 2, 20).await, ApprovalClaim::Pending { is_new: true, .. }));
    let ApprovalClaim::Granted(used) = claim(&store, &one.id, 1, 20).await else { panic!("it was granted") };
    assert_eq!((&used.id, used.status, used.used_at), (&approval.id, ApprovalStatus::Used, Some(at(20))));
    assert!(matches!(claim(&store, &one.id, 1, 21).await, ApprovalClaim::Pending { is_new: true, .. }));
    assert_eq!(grant(&store, &approval, ONCE, 100).await, None, "it was used");
}

#[tokio::test]
async fn a_grant_for_a_while_ends_by_itself_and_by_a_denial() {
    let (_folder, [store]) = opened();
    let one = token("one", None);
    add(&store, &one).await;
    let approval = pending(&one.id, 1, 5);
    store.approvals().claim(&approval, at(5)).await.unwrap();
    grant(&store, &approval, ApprovalUse::Repeated, 100).await.unwrap();
    for second in [20, 30, 99] {
        assert!(matches!(claim(&store, &one.id, 1, second).await, ApprovalClaim::Granted(_)), "{second}");
    }
    assert!(matches!(claim(&store, &one.id, 1, 100).await, ApprovalClaim::Pending { is_new: true, .. }));
    assert_eq!(store.approvals().find(&approval.id).await.unwrap().unwrap().status, ApprovalStatus::Expired);

    let other = pending(&one.id, 2, 5);
    store.approvals().claim(&other, at(5)).await.unwrap();
    grant(&store, &other, ApprovalUse::Repeated, 1000).await.unwrap();
    let denied = store.approvals().decide(&other.id, ApprovalDecision::Deny, at(50)).await.unwrap().unwrap();
    assert_eq!(denied.status, ApprovalStatus::Denied);
    assert!(matches!(claim(&store, &one.id, 2, 60).await, ApprovalClaim::Denied(_)));
}

#[tokio::test]
async fn of_64_requests_at_once_one_uses_the_approval() {
    let (_folder, stores): (_, [SqliteStore; 2]) = opened();
    let stores = Arc::new(stores);
    let one = token("one", None);
    add(&stores[0], &one).await;
    let approval = pending(&one.id, 1, 5);
    stores[0].approvals().claim(&approval, at(5)).await.unwrap();
    grant(&stores[0], &approval, ONCE, 100).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64_usize {
        let (stores, id) = (Arc::clone(&stores), one.id.clone());
        tasks.spawn(async move { matches!(claim(&stores[number % 2], &id, 1, 20).await, ApprovalClaim::Granted(_)) });
    }
    let granted = tasks.join_all().await.into_iter().filter(|is_granted| *is_granted).count();
    assert_eq!(granted, 1);
}

#[tokio::test]
async fn a_token_waits_for_a_hundred_approvals_at_most() {
    let (_folder, [store]) = opened();
    let one = token("one", None);
    add(&store, &one).await;
    for digest in 0..100 {
        assert!(matches!(claim(&store, &one.id, digest, 5).await, ApprovalClaim::Pending { is_new: true, .. }));
    }
    assert_eq!(claim(&store, &one.id, 200, 5).await, ApprovalClaim::TooMany);
    store.api_tokens().revoke(&one.id).await.unwrap();
    assert_eq!(store.approvals().list(None, 1000).await.unwrap(), []);
}
