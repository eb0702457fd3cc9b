//! What the consents of every store do.

use futures_util::future::join_all;
use integ::model::{
    ConnectionMode, Consent, ConsentCondition, ConsentFilter, ConsentPurpose, ConsentState, ConsentType, NewConnection,
    NewConsent, SecretStorage,
};
use integ::store::{CommitConditions, LockKey, StoreError};

use super::super::{grant, new_connection, on_both_stores};
use super::at;

fn consent(user: &str, resource: Option<&str>, purpose: ConsentPurpose, second: i64) -> Consent {
    let new = NewConsent {
        user: user.parse().unwrap(),
        kind: ConsentType::DataSharing,
        resource: resource.map(|text| text.parse().unwrap()),
        purpose,
        policy_version: 1,
        description: Some("as agreed".to_owned()),
    };
    new.granted(at(second)).unwrap()
}

#[test]
fn consents_are_listed_by_what_they_say_and_stay_when_they_are_revoked() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let all = [
            consent("u_1", None, ConsentPurpose::Sync, 1),
            consent("u_1", Some("slack@work"), ConsentPurpose::Call, 2),
            consent("u_2", Some("project:7"), ConsentPurpose::Other("analytics".to_owned()), 3),
        ];
        for consent in &all {
            store.consents().grant(consent).await.unwrap();
        }
        let list = async |filter: ConsentFilter| other.consents().list(&filter, 9).await.unwrap();
        assert_eq!(list(ConsentFilter::default()).await, [all[2].clone(), all[1].clone(), all[0].clone()]);
        let of_user = ConsentFilter { user: "u_1".parse().ok(), ..Default::default() };
        assert_eq!(list(of_user.clone()).await.len(), 2);
        let of_resource = ConsentFilter { resource: "slack@work".parse().ok(), ..Default::default() };
        assert_eq!(list(of_resource).await, [all[1].clone()]);
        assert!(store.consents().revoke_one(&all[1].id, at(5)).await.unwrap());
        assert!(!store.consents().revoke_one(&all[1].id, at(6)).await.unwrap());
        let revoked = store.consents().revoke(&of_user, at(7)).await.unwrap();
        assert_eq!(revoked.iter().map(|consent| &consent.id).collect::<Vec<_>>(), [&all[0].id]);
        let found = other.consents().find(&all[1].id).await.unwrap().unwrap();
        assert_eq!((found.revoked_at, list(of_user).await.len()), (Some(at(5)), 2));
    });
}

#[test]
fn nothing_is_committed_after_a_consent_was_revoked() {
    on_both_stores(async |subject| {
        let (store, name) = (subject.store(), subject.name);
        let new = NewConnection { user: "u_1".parse().ok(), ..new_connection("github", ConnectionMode::Live) };
        let connection = store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap().0.id;
        let stream = store.streams().ensure(connection, "issues").await.unwrap().id;
        let lease = store.locks().try_acquire(LockKey::Stream(stream), at(0)).await.unwrap().unwrap();
        let fence = lease.fence;
        let conditions = |is_required| {
            let consent =
                ConsentCondition { connection, purpose: ConsentPurpose::Sync, is_required, policy_version: 1 };
            CommitConditions { fence, consent }
        };
        let commit = async |is_required| match store.records().commit_pages(Vec::new(), &conditions(is_required)).await
        {
            Ok(_) => None,
            Err(StoreError::Consent(error)) => Some(error.state),
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!((commit(false).await, commit(true).await), (None, Some(ConsentState::Missing)), "{name}");
        let granted = consent("u_1", Some("github"), ConsentPurpose::Sync, 1);
        subject.other().consents().grant(&granted).await.unwrap();
        assert_eq!((commit(false).await, commit(true).await), (None, None), "{name}");
        // Commits that overlap with the revocation are before it or refused, and none waits for another without end.
        let commits = join_all((0..16).map(async |number: usize| {
            let records = subject.handles[number % subject.handles.len()].records();
            matches!(records.commit_pages(Vec::new(), &conditions(true)).await, Ok(_) | Err(StoreError::Consent(_)))
        }));
        let (ended, revoked) = tokio::join!(commits, subject.other().consents().revoke_one(&granted.id, at(2)));
        assert!(revoked.unwrap() && ended.iter().all(|ended| *ended), "{name}: {ended:?}");
        let revoked = Some(ConsentState::Revoked);
        assert_eq!((commit(false).await, commit(true).await), (revoked, revoked), "{name}");
        store.locks().release(lease).await.unwrap();
    });
}
