//! What trust in the identity tokens of CI systems comes to in every store.

use std::time::Duration;

use integ::model::{
    ApiToken, ApiTokenName, ApiTokenText, ApiTokenTrust, ApprovalPolicy, ConnectionId, ScopeGrant, TokenExchange,
    TokenExchangeResult,
};

use super::super::on_both_stores;
use super::api_tokens::token;
use super::at;

fn trust(connections: Vec<ConnectionId>) -> ApiTokenTrust {
    ApiTokenTrust {
        name: "deploy".parse().unwrap(),
        issuer: "https://ci.example".to_owned(),
        audience: "https://integ.example".to_owned(),
        claims: [("repository".to_owned(), "acme/app".to_owned())].into(),
        scopes: vec![ScopeGrant::known("connections:read").unwrap()],
        connections,
        approve: ApprovalPolicy::Destroy,
        lifetime: Duration::from_secs(900),
        created_at: at(1),
    }
}

fn exchange(name: &str, digest: u8, expires: i64) -> TokenExchange {
    let trust = Some("deploy".parse().unwrap());
    TokenExchange {
        token: ApiToken { trust, expires_at: at(expires), ..token(name, None) },
        hash: ApiTokenText::random().hash(),
        identity_digest: [digest; 32],
        identity_accepted_until: at(300),
    }
}

#[test]
fn a_trust_is_read_as_it_was_stored_and_its_tokens_go_with_it() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        let trusts = store.api_token_trusts();
        assert!(trusts.add(&trust(vec![connection])).await.unwrap());
        assert!(!trusts.add(&trust(vec![])).await.unwrap(), "the name is taken");
        assert_eq!(other.api_token_trusts().list().await.unwrap(), [trust(vec![connection])]);
        let stored = trusts.exchange(&exchange("one", 1, 900), at(10)).await.unwrap();
        assert_eq!(stored, TokenExchangeResult::Stored);
        store.connections().remove(connection).await.unwrap();
        assert_eq!(trusts.list().await.unwrap()[0].connections, []);
        assert_eq!(trusts.remove(&"deploy".parse().unwrap()).await.unwrap(), Some(1));
        assert_eq!(trusts.remove(&"deploy".parse().unwrap()).await.unwrap(), None);
        assert_eq!(store.api_tokens().list().await.unwrap(), []);
        let late = trusts.exchange(&exchange("late", 2, 900), at(10)).await.unwrap();
        assert_eq!(late, TokenExchangeResult::TrustRemoved);
    });
}

#[test]
fn an_identity_token_is_exchanged_once() {
    on_both_stores(async |subject| {
        let stores = subject.handles.clone();
        stores[0].api_token_trusts().add(&trust(vec![])).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16_usize {
            let stores = stores.clone();
            tasks.spawn(async move {
                let exchange = exchange(&format!("token {number}"), 1, 900);
                stores[number % 2].api_token_trusts().exchange(&exchange, at(10)).await.unwrap()
            });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|result| **result == TokenExchangeResult::Stored).count(), 1);
        assert_eq!(results.iter().filter(|result| **result == TokenExchangeResult::Repeated).count(), 15);
        // Its digest is stored for as long as it would be accepted.
        let again = stores[0].api_token_trusts().exchange(&exchange("again", 1, 900), at(300)).await.unwrap();
        assert_eq!(again, TokenExchangeResult::Repeated);
    });
}

#[test]
fn tokens_of_a_trust_are_removed_a_day_after_their_end() {
    on_both_stores(async |subject| {
        let store = subject.store();
        store.api_token_trusts().add(&trust(vec![])).await.unwrap();
        let trusts = store.api_token_trusts();
        trusts.exchange(&exchange("old", 1, 900), at(10)).await.unwrap();
        trusts.exchange(&exchange("new", 2, 90_000), at(900 + 86_400)).await.unwrap();
        assert_eq!(store.api_tokens().list().await.unwrap().len(), 2);
        trusts.exchange(&exchange("newer", 3, 90_000), at(901 + 86_400)).await.unwrap();
        let names: Vec<_> = store.api_tokens().list().await.unwrap().into_iter().map(|token| token.name).collect();
        assert_eq!(names.iter().map(ApiTokenName::as_str).collect::<Vec<_>>(), ["new", "newer"]);
    });
}
