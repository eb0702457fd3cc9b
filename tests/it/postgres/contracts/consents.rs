//! What the consents of every store do.

use integ::model::{Consent, ConsentFilter, ConsentPurpose, ConsentType, NewConsent};

use super::super::on_both_stores;
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
