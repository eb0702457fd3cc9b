//! Syncs, outbound webhooks.

use integ::api::PagingError;
use integ::clock::Timestamp;
use integ::connector::Pointer;
use integ::endpoint::EndpointError;
use integ::http::HttpError;
use integ::json::JsonError;
use integ::store::StoreError;
use integ::store::outbox::DeliveryId;
use integ::sync::SyncError;

use super::{MINUTE, errors, io, slack};
use crate::snapshots::assert_snap;

#[test]
fn sync() {
    let users = || "users".to_owned();
    let resumes_at = Timestamp::UNIX_EPOCH;
    let text = errors!(SyncError {
        NoStreams => [E::NoStreams { connection: slack() }],
        UnknownStream => [
            E::UnknownStream { connector: "slack".into(), stream: "user".into(), likely: Some(users()) },
            E::UnknownStream { connector: "slack".into(), stream: "x".into(), likely: None },
        ],
        MissingParams => [E::MissingParams { connection: slack(), stream: users(), missing: vec!["team".into()] }],
        UnknownParam => [
            E::UnknownParam { connection: slack(), stream: users(), param: "tem".into(), likely: Some("team".into()) },
            E::UnknownParam { connection: slack(), stream: users(), param: "x".into(), likely: None },
        ],
        NoBackfill => [E::NoBackfill { connection: slack(), stream: users(), why: "its list takes no times" }],
        Busy => [E::Busy { connection: slack(), stream: users() }],
        Limited => [E::Limited { connection: slack(), resumes_at }],
        Repeated => [E::Repeated { connection: slack(), stream: users() }],
        NotAList => [E::NotAList { connection: slack(), stream: users(), why: "a text".into() }],
        NotReady => [E::NotReady { connection: slack(), stream: users() }],
        Paging => [E::Paging { connection: slack(), stream: users(), source: PagingError::MissingNext }],
        SweepHeld => [E::SweepHeld { connection: slack(), stream: users(), missing: 60, known: 100, job: 7 }],
        PlaceLost => [E::PlaceLost { connection: slack(), stream: users() }],
        NotJson => [E::NotJson { connection: slack(), stream: users(), source: JsonError::Html }],
        Keyless => [E::Keyless { connection: slack(), stream: users(), at: Pointer::parse("/id").unwrap() }],
        Cancelled => [E::Cancelled { connection: slack(), stream: users() }],
        Lock => [E::Lock { path: "/data/locks/stream-1.lock".into(), source: io() }],
    });
    assert_snap("errors_sync", &text);
}

#[test]
fn endpoints() {
    let endpoint = || "ep_1".parse().unwrap();
    let not_json = || serde_json::from_str::<u8>("{").unwrap_err();
    let text = errors!(EndpointError {
        NoEndpoint => [E::NoEndpoint("ep_1".into())],
        DeliveryId => [E::DeliveryId("x".into())],
        NoDelivery => [E::NoDelivery(DeliveryId(1))],
        Url => [E::Url("ftp://x".into(), "it is not http or https")],
        Http => [E::Http(HttpError::Timeout { host: "hooks.example".into(), after: MINUTE })],
        Disabled => [E::Disabled(endpoint())],
        Rule => [E::Rule { what: "the rate", given: "0/s".into(), expected: "1/s to 1000/s" }],
        Data => [E::Data { source: not_json() }],
        Shape => [E::Shape { kind: "invoice.paid".into(), problems: vec!["/amount is missing".into()] }],
        NoType => [E::NoType("invoice.paid".into())],
        Read => [E::Read { source: io() }],
        TooLarge => [E::TooLarge { size: 300_000, most: 262_144 }],
        MessageId => [E::MessageId("a b".into())],
        Conflict => [E::Conflict("first".into())],
        Busy => [E::Busy],
        Lock => [E::Lock { path: "/data/locks/deliveries.lock".into(), source: io() }],
        Store => [E::Store(StoreError::Unreleased)],
    });
    assert_snap("errors_endpoints", &text);
}
