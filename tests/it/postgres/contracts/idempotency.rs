//! What the idempotency keys of every store do.

use futures_util::future::join_all;
use integ::model::{
    AuditActor, AuditRecord, Effect, IdempotencyClaim, IdempotencyKey, IdempotencyRequest, StoredResponse,
};

use super::super::on_both_stores;
use super::at;

fn request(key: &str, digest: u8, second: i64) -> IdempotencyRequest {
    let key = IdempotencyKey { caller: "tok_1".to_owned(), key: key.to_owned() };
    let request_id = format!("req_{second}");
    IdempotencyRequest { key, request_id, digest: [digest; 32], now: at(second), claimed_until: at(second + 60) }
}

#[test]
fn of_many_requests_with_a_key_one_runs_and_the_others_get_its_response() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let claims = join_all((0..32).map(async |number: usize| {
            let store = &subject.handles[number % subject.handles.len()];
            store.idempotency_keys().claim(&request("a", 1, 0)).await.unwrap()
        }));
        let claims = claims.await;
        let claimed = claims.iter().filter(|claim| **claim == IdempotencyClaim::Claimed).count();
        assert_eq!(claimed, 1, "{name}: {claims:?}");
        let (own, other) = (subject.store().idempotency_keys(), subject.other().idempotency_keys());
        assert_eq!(other.claim(&request("a", 2, 1)).await.unwrap(), IdempotencyClaim::OtherRequest, "{name}");
        assert_eq!(other.claim(&request("a", 1, 59)).await.unwrap(), IdempotencyClaim::Running, "{name}");
        // The first one was killed.
        assert_eq!(other.claim(&request("a", 1, 60)).await.unwrap(), IdempotencyClaim::Claimed, "{name}");
        let response = StoredResponse {
            status: 201,
            content_type: "application/json".to_owned(),
            location: Some("/v1/x".to_owned()),
            body: b"{\"a\":1}".to_vec(),
        };
        own.finish(&request("a", 1, 0).key, &response).await.unwrap();
        assert_eq!(other.claim(&request("a", 1, 61)).await.unwrap(), IdempotencyClaim::Done(response), "{name}");
        // A request that changed nothing leaves no key, and one that ended keeps it.
        own.claim(&request("b", 1, 0)).await.unwrap();
        own.release(&request("b", 1, 0).key).await.unwrap();
        own.release(&request("a", 1, 0).key).await.unwrap();
        assert_eq!(other.claim(&request("b", 9, 2)).await.unwrap(), IdempotencyClaim::Claimed, "{name}");
        assert_eq!((own.prune(at(1)).await.unwrap(), own.prune(at(3)).await.unwrap()), (1, 1), "{name}");
    });
}

#[test]
fn a_request_that_was_interrupted_is_made_again_only_if_it_had_changed_nothing() {
    on_both_stores(async |subject| {
        let (store, name) = (subject.store(), subject.name);
        let claim = async |second| subject.other().idempotency_keys().claim(&request("a", 7, second)).await.unwrap();
        let append = async |id: &str, effect| {
            let record = AuditRecord::new(at(1), AuditActor::Local, "endpoint add", effect);
            store.audit().append(vec![AuditRecord { request_id: Some(id.to_owned()), ..record }]).await.unwrap();
        };
        // An entry from before the claim is not of its request.
        append("req_1", Effect::Write).await;
        assert_eq!(claim(1).await, IdempotencyClaim::Claimed, "{name}");
        assert_eq!(claim(2).await, IdempotencyClaim::Running, "{name}");
        append("req_1", Effect::Read).await;
        assert_eq!(claim(400).await, IdempotencyClaim::Claimed, "{name}");
        append("req_400", Effect::Write).await;
        assert_eq!(claim(401).await, IdempotencyClaim::Running, "{name}");
        for second in [800, 9_000] {
            assert_eq!(claim(second).await, IdempotencyClaim::Interrupted, "{name}");
        }
        let other = store.idempotency_keys().claim(&request("a", 8, 9_000)).await.unwrap();
        assert_eq!(other, IdempotencyClaim::OtherRequest, "{name}");
    });
}
