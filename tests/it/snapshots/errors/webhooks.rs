//! Inbound webhooks.

use integ::connector::TemplateError;
use integ::http::loopback::BindError;
use integ::model::{EventId, SubscriptionId};
use integ::ops::webhooks::WebhookOperationError;
use integ::signing::verify::VerifyError;
use integ::webhook::backfill::BackfillError;
use integ::webhook::listen::ListenError;
use integ::webhook::settings::WebhookSettingsError;
use integ::webhook::simulate::SimulateError;
use integ::webhook::simulate::corrupt::CorruptionError;
use integ::webhook::subscription::SubscribeError;

use super::{MINUTE, errors, io, slack};
use crate::snapshots::assert_snap;

fn receiving() -> String {
    let connection = || "slack@work".to_owned();
    let connector = || "slack".to_owned();
    let setup = errors!(WebhookSettingsError {
        NoWebhook => [E::NoWebhook { connector: connector() }],
        MissingParam => [E::MissingParam { connection: connection(), name: "app".into(), prompt: "The app's id".into() }],
        NoSecret => [
            E::NoSecret { connection: connection(), prompt: Some("Signing secret".into()) },
            E::NoSecret { connection: connection(), prompt: None },
        ],
        WeakSecret => [E::WeakSecret { connection: connection(), why: "is shorter than 16 bytes" }],
        InvalidPublicUrl => [E::InvalidPublicUrl { url: "ftp://x".into() }],
        UnknownParam => [
            E::UnknownParam { connector: connector(), name: "ap".into(), known: vec!["app".into()] },
            E::UnknownParam { connector: connector(), name: "ap".into(), known: Vec::new() },
        ],
    });
    let listen = errors!(ListenError {
        NoConnections => [E::NoConnections],
        NothingToPoll => [E::NothingToPoll { connection: slack() }],
        ReservedHeader => [E::ReservedHeader { name: "Host".into(), connector: connector() }],
        Bind => [E::Bind(BindError { address: "127.0.0.1:7421".parse().unwrap(), holder: None, source: io() })],
        Port => [E::Port { port: 7421, source: io() }],
    });
    let backfill = errors!(BackfillError {
        Unsupported => [E::Unsupported { connection: slack(), connector: connector() }],
        InvalidParameters => [E::InvalidParameters { connection: slack(), problem: "team is missing".into() }],
        TooFarBack => [E::TooFarBack { connection: slack(), reach: "30d".into() }],
        MalformedResponse => [E::MalformedResponse { connection: slack() }],
    });
    setup + &listen + &backfill
}

fn simulating() -> String {
    let connector = || "slack".to_owned();
    let event = || "message".to_owned();
    let sign = |source| SimulateError::Sign { event: event(), source };
    let simulate = errors!(SimulateError {
        NoWebhook => [E::NoWebhook { connector: connector() }],
        UnknownEvent => [
            E::UnknownEvent { connector: connector(), event: "mesage".into(), likely: Some(event()) },
            E::UnknownEvent { connector: connector(), event: "x".into(), likely: None },
        ],
        Template => [E::Template { connector: connector(), event: event(), source: TemplateError::MissingValue("id".into()) }],
        Json => [E::Json { connector: connector(), event: event(), source: serde_json::from_str::<u8>("{").unwrap_err() }],
        Sign => [
            sign(VerifyError::Unsigned),
            sign(VerifyError::RepeatedHeader("x-signature".into())),
            sign(VerifyError::NoSecret),
            sign(VerifyError::MissingInput("the public key".into())),
            sign(VerifyError::MalformedSignature),
            sign(VerifyError::SignatureMismatch),
            sign(VerifyError::InvalidTimestamp),
            sign(VerifyError::TimestampOutOfTolerance(600)),
            sign(VerifyError::BodyHashMismatch),
            sign(VerifyError::ClaimsMismatch("the audience")),
        ],
    });
    let tamper = errors!(CorruptionError {
        NotSigned => [E::NotSigned(connector())],
        TimestampNotChecked => [E::TimestampNotChecked(connector())],
        BodyNotSigned => [E::BodyNotSigned(connector())],
    });
    simulate + &tamper
}

fn subscribing() -> String {
    let id = SubscriptionId(1);
    let usage = || "integ webhook subscribe slack@work -p team=TEAM".to_owned();
    let look = || "integ webhook url slack@work".to_owned();
    errors!(SubscribeError {
        ManualSetup => [E::ManualSetup { connection: slack(), setup: "Under Event Subscriptions, enter the URL.".into() }],
        NoPublicUrl => [E::NoPublicUrl { connection: slack() }],
        InvalidParameters => [E::InvalidParameters { connection: slack(), problems: vec!["team is missing".into()], usage: usage() }],
        NoEvents => [E::NoEvents { connection: slack(), usage: usage() }],
        NoSecret => [E::NoSecret { connection: slack() }],
        DifferentSubscription => [E::DifferentSubscription { connection: slack(), id, events: vec!["message".into()] }],
        OutcomeUnknown => [E::OutcomeUnknown { connection: slack(), id, at: "2026-01-01T00:00:00Z".into(), check_command: look() }],
        ResponseLost => [E::ResponseLost { connection: slack(), id, reason: "the connection broke".into(), check_command: look() }],
        NoResult => [
            E::NoResult { connection: slack(), action: "hooks.create".into(), missing: "id".into(), said: Some("later".into()) },
            E::NoResult { connection: slack(), action: "hooks.create".into(), missing: "id".into(), said: None },
        ],
        NotSubscribed => [E::NotSubscribed { connection: slack(), id: Some(id) }, E::NotSubscribed { connection: slack(), id: None }],
        Several => [E::Several { connection: slack(), ids: vec![id, SubscriptionId(2)] }],
        UnsubscribeFailed => [E::UnsubscribeFailed { connection: slack(), id, reason: "it answered 500".into() }],
        Locked => [E::Locked { connection: slack(), after: MINUTE }],
    })
}

fn operations() -> String {
    let id = EventId(17);
    errors!(WebhookOperationError {
        VendorManagedSecret => [E::VendorManagedSecret { connection: slack() }],
        SecretUnsupported => [E::SecretUnsupported { connection: slack() }],
        EventNotFound => [E::EventNotFound { id }],
        NoConflict => [E::NoConflict { id }],
        BodyNotFound => [E::BodyNotFound { id, bodies: 2 }],
        Pruned => [E::Pruned { id }],
    })
}

#[test]
fn webhooks() {
    assert_snap("errors_webhooks", &(receiving() + &simulating() + &subscribing() + &operations()));
}
