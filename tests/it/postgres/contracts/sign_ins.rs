//! What the sign-ins and connect links of every store do.

use std::collections::BTreeMap;
use std::time::Duration;

use integ::model::{
    ConnectLink, ConnectLinkId, ConnectLinkMode, ConnectLinkStatus, ConnectedAccount, ConnectionMode, NewSignIn,
    SignInFailure, SignInId, SignInResult, SignInStatus, TakeSignInResult,
};
use integ::secret::Secret;
use integ::store::StoreError;
use url::Url;

use super::super::on_both_stores;
use super::at;

fn sign_in(state: u8, link: Option<&ConnectLinkId>) -> NewSignIn {
    NewSignIn {
        id: SignInId::random(),
        state_hash: Some([state; 32]),
        connection: "slack@work".parse().unwrap(),
        details: Secret::from("{\"verifier\":\"MARKER\"}"),
        poll_interval: None,
        user: "u_17".parse().ok(),
        link: link.cloned(),
        return_to: Url::parse("https://app.example/done").ok(),
        created_at: at(0),
        expires_at: at(600),
    }
}

fn link(uses_left: u32) -> ConnectLink {
    ConnectLink {
        id: ConnectLinkId::random(),
        connector: "slack".to_owned(),
        account: None,
        auth: Some("oauth2".to_owned()),
        scopes: vec!["chat:write".to_owned()],
        params: BTreeMap::from([("subdomain".to_owned(), "acme".to_owned())]),
        user: "u_17".parse().ok(),
        mode: ConnectionMode::Sandbox,
        display: ConnectLinkMode::Popup,
        return_to: None,
        is_guarded: true,
        created_at: at(0),
        expires_at: at(100),
        uses_left,
        revoked_at: None,
    }
}

fn connected() -> SignInResult {
    SignInResult::Connected(ConnectedAccount {
        connection: "slack@acme".to_owned(),
        missing_scopes: vec!["users:read".to_owned()],
        warnings: Vec::new(),
    })
}

fn failed() -> SignInResult {
    SignInResult::Failed(SignInFailure { code: "access_denied".to_owned(), ..SignInFailure::default() })
}

#[test]
fn one_of_64_callbacks_uses_up_a_state() {
    on_both_stores(async |subject| {
        let stores = subject.handles.clone();
        let new = sign_in(1, None);
        stores[0].sign_ins().begin(&new).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..64 {
            let (stores, id) = (stores.clone(), new.id.clone());
            tasks.spawn(async move { stores[number % 4].sign_ins().take(&id, at(1)).await.unwrap() });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|result| **result == TakeSignInResult::Claimed).count(), 1);
        assert_eq!(results.iter().filter(|result| **result == TakeSignInResult::Used).count(), 63);
        let found = stores[3].sign_ins().find_by_state(&[1; 32]).await.unwrap().unwrap();
        assert!(found.details.is_none(), "its secrets are erased");
        assert_eq!(found.status(at(1)), SignInStatus::Finishing);
    });
}

#[test]
fn a_result_is_stored_once_and_kept_for_an_hour() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let new = sign_in(1, None);
        ours.sign_ins().begin(&new).await.unwrap();
        let found = theirs.sign_ins().find(&new.id).await.unwrap().unwrap();
        assert_eq!(found.details.as_ref().unwrap().expose(), new.details.expose());
        assert!(!format!("{found:?}").contains("MARKER"));
        assert_eq!((found.connection, found.user, found.return_to), (new.connection.clone(), new.user, new.return_to));
        assert_eq!(theirs.sign_ins().take(&new.id, at(600)).await.unwrap(), TakeSignInResult::Expired);
        assert_eq!(theirs.sign_ins().take(&new.id, at(599)).await.unwrap(), TakeSignInResult::Claimed);
        theirs.sign_ins().finish(&new.id, &connected(), at(600)).await.unwrap();
        ours.sign_ins().finish(&new.id, &failed(), at(601)).await.unwrap();
        let found = ours.sign_ins().find(&new.id).await.unwrap().unwrap();
        assert_eq!(found.result, Some(connected()), "the first result stays");
        assert_eq!(ours.sign_ins().prune(at(600 + 3600)).await.unwrap(), 0);
        assert_eq!(ours.sign_ins().prune(at(601 + 3600)).await.unwrap(), 1);
        assert!(theirs.sign_ins().find(&new.id).await.unwrap().is_none());
    });
}

#[test]
fn a_device_code_is_asked_about_once_in_its_interval() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let new = NewSignIn { state_hash: None, poll_interval: Some(Duration::from_secs(5)), ..sign_in(1, None) };
        ours.sign_ins().begin(&new).await.unwrap();
        assert!(!ours.sign_ins().claim_poll(&new.id, at(4)).await.unwrap());
        assert!(ours.sign_ins().claim_poll(&new.id, at(5)).await.unwrap());
        assert!(!theirs.sign_ins().claim_poll(&new.id, at(5)).await.unwrap());
        theirs.sign_ins().slow_down(&new.id, 5).await.unwrap();
        assert!(!ours.sign_ins().claim_poll(&new.id, at(14)).await.unwrap());
        assert!(ours.sign_ins().claim_poll(&new.id, at(15)).await.unwrap());
        ours.sign_ins().take(&new.id, at(16)).await.unwrap();
        assert!(!ours.sign_ins().claim_poll(&new.id, at(100)).await.unwrap());
    });
}

#[test]
fn a_link_is_used_up_by_the_first_sign_in_that_finishes() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let added = link(1);
        ours.connect_links().add(&added, &[9; 32]).await.unwrap();
        assert_eq!(theirs.connect_links().find_by_secret(&[9; 32]).await.unwrap(), Some(added.clone()));
        assert_eq!(theirs.connect_links().find_by_secret(&[8; 32]).await.unwrap(), None);
        let begin = async |state| {
            let new = sign_in(state, Some(&added.id));
            ours.sign_ins().begin(&new).await.unwrap();
            new.id
        };
        let (first, second, third) = (begin(1).await, begin(2).await, begin(3).await);
        assert_eq!(ours.sign_ins().take(&first, at(1)).await.unwrap(), TakeSignInResult::Claimed);
        assert_eq!(theirs.sign_ins().take(&second, at(1)).await.unwrap(), TakeSignInResult::LinkUsed);
        // The person denied it: somebody may still use the link.
        ours.sign_ins().finish(&first, &failed(), at(2)).await.unwrap();
        ours.sign_ins().finish(&first, &failed(), at(2)).await.unwrap();
        // A sign-in that was begun in time ends after its link.
        assert_eq!(theirs.sign_ins().take(&second, at(200)).await.unwrap(), TakeSignInResult::Claimed);
        theirs.sign_ins().finish(&second, &connected(), at(201)).await.unwrap();
        assert_eq!(ours.sign_ins().take(&third, at(202)).await.unwrap(), TakeSignInResult::LinkUsed);
        let listed = theirs.connect_links().list().await.unwrap();
        assert_eq!((listed.len(), listed[0].status(at(50))), (1, ConnectLinkStatus::Used));
        assert!(!ours.connect_links().revoke(&added.id, at(300)).await.unwrap());
    });
}

#[test]
fn a_revoked_link_ends_what_was_begun_with_it() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let added = link(1);
        ours.connect_links().add(&added, &[9; 32]).await.unwrap();
        let new = sign_in(1, Some(&added.id));
        ours.sign_ins().begin(&new).await.unwrap();
        assert!(theirs.connect_links().revoke(&added.id, at(1)).await.unwrap());
        assert!(!theirs.connect_links().revoke(&added.id, at(1)).await.unwrap());
        assert!(ours.sign_ins().find(&new.id).await.unwrap().is_none());
        assert!(!ours.connect_links().take_use(&added.id, at(2)).await.unwrap());
        let found = ours.connect_links().get(&added.id).await.unwrap().unwrap();
        assert_eq!(found.status(at(2)), ConnectLinkStatus::Revoked);
        let repeated = ours.connect_links().add(&link(1), &[9; 32]).await;
        let is_refused = matches!(repeated, Err(StoreError::Sqlite(_) | StoreError::Backend(_)));
        assert!(is_refused, "the secret is another link's: {repeated:?}");
    });
}

#[test]
fn what_was_begun_with_a_connector_is_withdrawn_unless_its_state_is_used_up() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store().sign_ins(), subject.other().sign_ins());
        let (begun, taken, ended) = (sign_in(1, None), sign_in(2, None), sign_in(3, None));
        let other = NewSignIn { connection: "github".parse().unwrap(), ..sign_in(4, None) };
        for new in [&begun, &taken, &ended, &other] {
            ours.begin(new).await.unwrap();
        }
        assert_eq!(theirs.take(&taken.id, at(1)).await.unwrap(), TakeSignInResult::Claimed);
        theirs.finish(&ended.id, &failed(), at(1)).await.unwrap();
        assert_eq!(ours.withdraw("slack").await.unwrap(), 1);
        assert_eq!(theirs.find(&begun.id).await.unwrap().map(|found| found.id), None);
        for left in [&taken, &ended, &other] {
            assert!(theirs.find(&left.id).await.unwrap().is_some());
        }
    });
}
