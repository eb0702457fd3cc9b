//! What the webhook URLs and subscriptions of every store do.

use integ::model::{ConnectionId, SubscriptionRequest, SubscriptionResult, SubscriptionStatus, Transition, Webhook};
use integ::store::{Fence, LockKey, StoreError};
use serde_json::json;

use super::super::{Subject, on_both_stores};
use super::at;

/// What is stored of a webhook, with its secrets.
fn known(webhook: &Webhook) -> (ConnectionId, String, Option<String>, Option<u16>, usize, Vec<String>) {
    let secrets = webhook.secrets(at(0)).iter().map(|secret| secret.expose().clone()).collect();
    let (path, url) = (webhook.path.clone(), webhook.public_url.clone());
    (webhook.connection, path, url, webhook.port, webhook.params.len(), secrets)
}

#[test]
fn a_webhook_keeps_its_path_and_rotates_its_secrets() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let id = subject.connect("slack").await.id;
        let (own, other) = (subject.store().webhooks(), subject.other().webhooks());
        assert!(other.get(id).await.unwrap().is_none(), "{name}");
        assert_eq!(own.ensure(id, "path one").await.unwrap().path, "path one", "{name}");
        assert_eq!(other.ensure(id, "path two").await.unwrap().path, "path one", "{name}");
        own.rotate_secret(id, &"first".into(), at(10), at(0)).await.unwrap();
        own.rotate_secret(id, &"second".into(), at(100), at(5)).await.unwrap();
        own.set_public_url(id, Some("https://hooks.example/x")).await.unwrap();
        own.set_port(&[id], 7421).await.unwrap();
        own.set_params(id, &[("a".to_owned(), "1".to_owned())].into()).await.unwrap();
        other.add_params(id, &[("b".to_owned(), "2".to_owned())].into()).await.unwrap();
        let webhook = other.get(id).await.unwrap().unwrap();
        let secrets = |second| webhook.secrets(at(second)).iter().map(|one| one.expose().clone()).collect::<Vec<_>>();
        assert_eq!(
            (secrets(99), secrets(100)),
            (vec!["second".to_owned(), "first".to_owned()], vec!["second".to_owned()])
        );
        assert_eq!(
            (webhook.public_url.as_deref(), webhook.port),
            (Some("https://hooks.example/x"), Some(7421)),
            "{name}"
        );
        assert_eq!(webhook.params.len(), 2, "{name}");
        let listed = other.list().await.unwrap();
        assert_eq!(listed.iter().map(known).collect::<Vec<_>>(), [known(&webhook)], "{name}");
        own.set_public_url(id, None).await.unwrap();
        assert_eq!(other.get(id).await.unwrap().unwrap().public_url, None, "{name}");
        subject.store().connections().remove(id).await.unwrap();
        assert!(other.get(id).await.unwrap().is_none(), "{name}: it goes with its connection");
    });
}

fn request(connection: ConnectionId) -> SubscriptionRequest {
    SubscriptionRequest {
        connection,
        url: "https://hooks.example/x".to_owned(),
        events: vec!["issues".to_owned()],
        params: [("repository".to_owned(), json!("acme/app"))].into(),
        idempotency_key: "key".to_owned(),
    }
}

fn result(secret: &str) -> SubscriptionResult {
    SubscriptionResult {
        metadata: [("id".to_owned(), "77".to_owned())].into(),
        secret: Some(secret.into()),
        expires_at: Some(at(1000)),
    }
}

#[test]
fn a_subscription_breaks_its_connection_while_it_cannot_be_renewed() {
    on_both_stores(async |subject: &Subject| {
        let name = subject.name;
        let id = subject.connect("github").await.id;
        subject.store().webhooks().ensure(id, "path").await.unwrap();
        let lease = subject.store().locks().try_acquire(LockKey::Subscriptions(id), at(0)).await.unwrap().unwrap();
        let (own, other) = (subject.store().subscriptions(), subject.other().subscriptions());
        let begun = own.begin(&request(id), at(1), lease.fence).await.unwrap();
        let stored = other.get(begun).await.unwrap().unwrap();
        assert_eq!(
            (stored.status, &stored.request.params),
            (SubscriptionStatus::Creating, &request(id).params),
            "{name}"
        );
        let params = [("team".to_owned(), "x".to_owned())].into();
        let change =
            own.activate(&stored, &result("made by the vendor"), &params, None, at(2), lease.fence).await.unwrap();
        assert!(change.is_none(), "{name}");
        let active = other.get(begun).await.unwrap().unwrap();
        let expected = result("made by the vendor");
        assert_eq!((active.metadata, active.expires_at), (expected.metadata, expected.expires_at), "{name}");
        let webhook = subject.other().webhooks().get(id).await.unwrap().unwrap();
        assert_eq!(webhook.secrets(at(3))[0].expose(), "made by the vendor", "{name}");
        assert_eq!(webhook.params, params, "{name}");
        let listed = subject.other().webhooks().list().await.unwrap();
        assert_eq!(listed.iter().map(known).collect::<Vec<_>>(), [known(&webhook)], "{name}");
        let broken = other.record_failure(&stored, "404", at(4)).await.unwrap().unwrap();
        assert_eq!(broken.transition, Transition::Failure, "{name}");
        assert_eq!(broken.connection.last_error.as_deref(), Some("404"), "{name}");
        let again = own.record_failure(&stored, "404", at(5)).await.unwrap();
        assert!(again.is_none(), "{name}: it is known");
        let next = own.begin(&request(id), at(6), lease.fence).await.unwrap();
        let next = own.get(next).await.unwrap().unwrap();
        let healed =
            own.activate(&next, &result("next"), &Default::default(), Some(stored.id), at(7), lease.fence).await;
        assert_eq!(healed.unwrap().map(|change| change.transition), Some(Transition::Recovery), "{name}");
        let listed = other.list(Some(id)).await.unwrap();
        let statuses: Vec<_> = listed.iter().map(|one| one.status).collect();
        assert_eq!(statuses, [SubscriptionStatus::Deleting, SubscriptionStatus::Active], "{name}");
        assert!(own.delete(&stored).await.unwrap().is_none() && own.mark_deleting(&next).await.unwrap().is_none());
        assert_eq!(other.list(None).await.unwrap().len(), 1, "{name}");
        let last = own.begin(&request(id), at(8), lease.fence).await.unwrap();
        let last = own.get(last).await.unwrap().unwrap();
        own.activate(&last, &result("last"), &Default::default(), None, at(8), lease.fence).await.unwrap();
        own.record_failure(&last, "404", at(8)).await.unwrap();
        let ending = other.mark_deleting(&last).await.unwrap().map(|change| change.transition);
        assert_eq!(ending, Some(Transition::Recovery), "{name}: it need not be renewed any more");
        assert!(own.delete(&last).await.unwrap().is_none() && own.delete(&next).await.unwrap().is_none(), "{name}");
        assert!(other.list(None).await.unwrap().is_empty(), "{name}");
        subject.store().locks().release(lease).await.unwrap();
        let lease = subject.other().locks().try_acquire(LockKey::Subscriptions(id), at(9)).await.unwrap().unwrap();
        let old = Fence { number: lease.fence.number - 1, ..lease.fence };
        assert!(matches!(own.begin(&request(id), at(9), old).await, Err(StoreError::LeaseLost(_))), "{name}");
    });
}
