//! What the users of every store do.

use integ::model::ConnectionMode;
use integ::model::{
    ConsentPurpose, ConsentType, LinkFilter, LinkId, LinkedObject, NewConnection, NewConsent, NewLink, SecretStorage,
    UserId,
};

use super::super::{grant, new_connection, on_both_stores};
use super::at;

#[test]
fn a_user_is_there_while_something_names_them() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let user: UserId = "u_17".parse().unwrap();
        let store = subject.store();
        let new = NewConnection { user: Some(user.clone()), ..new_connection("slack@u_17", ConnectionMode::Live) };
        let (connection, _) = store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap();
        let link = NewLink {
            user: Some(user.clone()),
            entity: "customer/1".parse().unwrap(),
            connection: connection.id,
            object: LinkedObject::new("contacts", "a").unwrap(),
        };
        let nobodys = NewLink { user: None, object: LinkedObject::new("contacts", "b").unwrap(), ..link.clone() };
        store.links().insert(vec![link, nobodys], at(1)).await.unwrap();
        let consent = NewConsent {
            user: user.clone(),
            kind: ConsentType::DataSharing,
            resource: None,
            purpose: ConsentPurpose::Sync,
            policy_version: 1,
            description: None,
        };
        store.consents().grant(&consent.granted(at(2)).unwrap()).await.unwrap();
        let counts = subject.other().users().counts(None).await.unwrap();
        let shown: Vec<_> = counts.iter().map(|one| (&one.user, one.connections, one.links, one.consents)).collect();
        assert_eq!(shown, [(&user, 1, 1, 1)], "{name}");
        assert_eq!(store.users().counts(Some(&"u_18".parse().unwrap())).await.unwrap(), [], "{name}");
        store.connections().remove(connection.id).await.unwrap();
        store.users().erase(&user, &[connection.name]).await.unwrap();
        assert_eq!(subject.other().users().counts(Some(&user)).await.unwrap(), [], "{name}");
        let links = store.links().list(&LinkFilter::default(), LinkId(0), 9).await.unwrap();
        assert!(links.is_empty(), "{name}: {links:?}");
    });
}
