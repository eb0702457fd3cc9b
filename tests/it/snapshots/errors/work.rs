//! Syncs, outbound webhooks.

use integ::api::PagingError;
use integ::audit::AuditError;
use integ::calendar::CalendarError;
use integ::calendar::time::{TimeError, resolve, zone};
use integ::connector::Pointer;
use integ::consent::ConsentError;
use integ::endpoint::EndpointError;
use integ::http::HttpError;
use integ::jq::JqError;
use integ::json::JsonError;
use integ::mapping::BindingError;
use integ::model::calendar::{CalendarName, EventTime};
use integ::model::{ConsentPurpose, ConsentState, ConsentTextError, DeliveryId};
use integ::model::{ExcessRight, OperatorRole, RateTier, ScopeGrant};
use integ::ops::api_tokens::ApiTokenError;
use integ::ops::bindings::BindingOperationError;
use integ::ops::consents::ConsentOperationError;
use integ::ops::links::LinkOperationError;
use integ::ops::sync::{StreamName, SyncOperationError, SyncTarget};
use integ::ops::users::UserOperationError;
use integ::store::StoreError;
use integ::sync::SyncError;

use super::{MINUTE, errors, io, shown, slack};
use crate::snapshots::assert_snap;

#[test]
fn sync() {
    let users = || "users".to_owned();
    let text = errors!(SyncError {
        NoStreams => [E::NoStreams { connection: slack() }],
        UnknownStream => [
            E::UnknownStream { connector: "slack".into(), stream: "user".into(), suggestion: Some(users()) },
            E::UnknownStream { connector: "slack".into(), stream: "x".into(), suggestion: None },
        ],
        MissingParams => [E::MissingParams { connection: slack(), stream: users(), missing: vec!["team".into()] }],
        UnknownParam => [
            E::UnknownParam { connection: slack(), stream: users(), param: "tem".into(), suggestion: Some("team".into()) },
            E::UnknownParam { connection: slack(), stream: users(), param: "x".into(), suggestion: None },
        ],
        BackfillUnsupported => [E::BackfillUnsupported { connection: slack(), stream: users(), why: "its list takes no times" }],
        AlreadyRunning => [E::AlreadyRunning { connection: slack(), stream: users() }],
        RepeatedPage => [E::RepeatedPage { connection: slack(), stream: users() }],
        NotAList => [E::NotAList { connection: slack(), stream: users(), why: "a text".into() }],
        NotReady => [E::NotReady { connection: slack(), stream: users() }],
        Paging => [E::Paging { connection: slack(), stream: users(), source: PagingError::MissingNext }],
        DeletesBlocked => [E::DeletesBlocked { connection: slack(), stream: users(), missing: 60, known: 100, job: 7 }],
        PageTokenExpired => [E::PageTokenExpired { connection: slack(), stream: users() }],
        NotJson => [E::NotJson { connection: slack(), stream: users(), source: JsonError::Html }],
        MissingKey => [E::MissingKey { connection: slack(), stream: users(), at: Pointer::parse("/id").unwrap() }],
    });
    assert_snap("errors_sync", &text);
}

#[test]
fn audit_and_users() {
    let (user, id) = (|| "u 1".parse().unwrap(), || "cns_1".parse().unwrap());
    let audit = errors!(AuditError {
        Write => [E::Write { source: StoreError::ReadOnlyNewer }],
        ForeignCheckpoint => [E::ForeignCheckpoint],
        InvalidCheckpoint => [E::InvalidCheckpoint { reason: "it has no signature".into() }],
    });
    let purpose = || ConsentPurpose::Sync;
    let required = [ConsentState::Missing, ConsentState::Outdated, ConsentState::Revoked].map(|state| ConsentError {
        connection: slack(),
        user: user(),
        purpose: purpose(),
        state,
    });
    let texts = errors!(ConsentTextError {
        Resource => [E::Resource("a b:".into())],
        Purpose => [E::Purpose(String::new())],
        Description => [E::Description],
    });
    let consents = errors!(ConsentOperationError {
        NotFound => [E::NotFound { id: id() }],
        NothingGranted => [E::NothingGranted { user: user() }],
    });
    let connections = vec!["slack@work".to_owned()];
    let users = errors!(UserOperationError {
        NotFound => [E::NotFound { user: user() }],
        NotRevoked => [E::NotRevoked { user: user(), connections, reason: "cannot connect to slack.com".into() }],
    });
    assert_snap("errors_audit_and_users", &[audit, shown(required.into()), texts, consents, users].concat());
}

#[test]
fn calendars() {
    let calendar = |id: Option<&str>| CalendarName { connection: slack(), id: id.map(str::to_owned) };
    let late = || CalendarError::Late { limit: MINUTE }.into();
    let entity = || "appointment/123".parse().unwrap();
    let day = |text: &str| EventTime::Date(text.parse().unwrap());
    let differences = vec!["title from \"A\" to \"B\"".to_owned(), "start from 2026-12-01 to 2026-12-02".to_owned()];
    let text = errors!(CalendarError {
        NoCalendars => [E::NoCalendars],
        NotACalendar => [E::NotACalendar { connection: slack() }],
        Unsupported => [E::Unsupported { connection: slack(), connector: "slack".into(), what: "creating events" }],
        Unreadable => [E::unreadable("free/busy", vec![(calendar(None), late()), (calendar(Some("team")), late())])],
        Late => [E::Late { limit: MINUTE }],
        Incomplete => [E::Incomplete { problem: "there is no list at /items".into() }],
        Changing => [E::Changing],
        Reported => [E::Reported { reason: "notFound".into() }],
        SameQuery => [E::SameQuery],
        MalformedEvent => [E::MalformedEvent { calendar: calendar(None), problem: "it has no start".into() }],
        EventNotFound => [E::EventNotFound { calendar: calendar(Some("team")), id: "e1".into() }],
        NotLinked => [E::NotLinked { connection: slack(), entity: entity() }],
        LinkedEventMissing => [E::LinkedEventMissing { connection: slack(), entity: entity(), id: "e1".into() }],
        LinkedElsewhere => [E::LinkedElsewhere { id: "e1".into(), entity: entity() }],
        ChangedMeanwhile => [
            E::ChangedMeanwhile { id: "e1".into(), differences: Vec::new() },
            E::ChangedMeanwhile { id: "e1".into(), differences },
        ],
        UsedKey => [E::UsedKey],
        EndsBeforeStart => [E::EndsBeforeStart { start: day("2026-12-02"), end: day("2026-12-01") }],
        MixedSpan => [E::MixedSpan],
        LengthNeeded => [E::LengthNeeded],
        PartOfDay => [E::PartOfDay],
    });
    assert_snap("errors_calendars", &text);
}

#[test]
fn event_times() {
    let berlin = zone("Europe/Berlin").unwrap();
    let local = |text: &str| resolve(text.parse().unwrap(), &berlin).unwrap_err();
    let text = errors!(TimeError {
        EmptyWindow => [E::EmptyWindow { from: "2026-12-02".to_owned(), to: "2026-12-01".to_owned() }],
        Invalid => [E::Invalid { text: "soon".into() }],
        UnknownZone => [zone("berlin").unwrap_err(), zone("Nowhere/At/All").unwrap_err()],
        Nonexistent => [local("2027-03-28T02:30")],
        Ambiguous => [local("2027-10-31T02:30")],
        WrongOffset => [E::WrongOffset { text: "2026-12-01T09:00+02:00[Europe/Berlin]".into(), zone: "Europe/Berlin".into() }],
        OutOfRange => [E::OutOfRange { text: "+100y".into() }],
    });
    assert_snap("errors_event_times", &text);
}

#[test]
fn bindings() {
    let (name, origin) = (|| "customer".parse().unwrap(), || "slack/users".parse().unwrap());
    let text = errors!(BindingOperationError {
        NotFound => [
            E::NotFound { name: name(), suggestion: Some("customers".into()) },
            E::NotFound { name: name(), suggestion: None },
        ],
        UnknownStream => [
            E::UnknownStream { connector: "slack".into(), stream: "user".into(), suggestion: Some("users".into()) },
        ],
        UnknownEvent => [E::UnknownEvent { connector: "slack".into(), event: "x".into(), suggestion: None }],
        UnknownTemplate => [
            E::UnknownTemplate { origin: origin(), template: "ticket".into(), known: vec!["contact".into()] },
            E::UnknownTemplate { origin: origin(), template: "ticket".into(), known: Vec::new() },
        ],
        OtherOrigin => [E::OtherOrigin { name: name(), origin: origin(), requested: "slack/channels".into() }],
        NoRecords => [E::NoRecords { name: name(), origin: "stripe#charge.refunded".parse().unwrap() }],
        NoEvents => [E::NoEvents { name: name() }],
        NoInputs => [
            E::NoInputs { origin: origin() },
            E::NoInputs { origin: "stripe#charge.refunded".parse().unwrap() },
        ],
        SeveralConnections => [
            E::SeveralConnections { name: name(), origin: origin(), example: "slack@work/users".into() },
        ],
        Unusable => [E::Unusable { name: name(), source: BindingError::Empty }],
        NotTwoWay => [E::NotTwoWay { name: name() }],
        NotWritable => [E::NotWritable { origin: "slack/users".parse().unwrap() }],
        NotDeletable => [E::NotDeletable { origin: "gitlab/issues".parse().unwrap() }],
        UnknownMatch => [E::UnknownMatch { field: "mail".into() }],
        NotConnected => [E::NotConnected { origin: "hubspot/contacts".parse().unwrap() }],
        ConnectionNeeded => [E::ConnectionNeeded {
            name: name(),
            origin: "hubspot/contacts".parse().unwrap(),
            example: "hubspot@work".parse().unwrap(),
        }],
        Locked => [E::Locked { connection: "hubspot".parse().unwrap() }],
        InvalidEntity => [E::InvalidEntity { line: 3, problem: "entity is missing".into() }],
        NoRecord => [E::NoRecord { origin: "gitlab/issues".into(), object: "7".into() }],
        SyncFailed => [E::SyncFailed { origin: "hubspot/contacts".into(), reason: "the token was refused".into() }],
        NoKey => [E::NoKey { action: "contacts.create".into() }],
        NoConflict => [E::NoConflict { name: name(), entity: "customer/42".parse().unwrap() }],
        NoFieldConflict => [E::NoFieldConflict {
            entity: "customer/42".parse().unwrap(),
            field: "email".into(),
            known: "phone".into(),
        }],
        InvalidImport => [E::InvalidImport { reason: "missing field `bindings`".into() }],
    });
    let language = errors!(BindingError {
        Syntax => [E::Syntax { line: 2, problem: "expected NAME = EXPRESSION".into() }],
        Expression => [E::Expression { line: 2, field: "email".into(), source: JqError::TooLong { most: 4096 } }],
        Converter => [E::Converter { line: 2, field: "at".into(), problem: "unknown time zone \"Mars\"".into() }],
        Empty => [E::Empty],
        TooLong => [E::TooLong],
    });
    assert_snap("errors_bindings", &format!("{text}{language}"));
}

#[test]
fn api_tokens() {
    let exceeds = |right| ApiTokenError::ExceedsToken { id: "tok_1".parse().unwrap(), right };
    let name = || "ci".parse().unwrap();
    let text = errors!(ApiTokenError {
        NotFound => [E::NotFound("ci".into())],
        InvalidName => [E::InvalidName("tok_1".into())],
        NameTaken => [E::NameTaken(name())],
        UnknownScope => [
            E::UnknownScope(ScopeGrant::known("connection:read").unwrap_err()),
            E::UnknownScope(ScopeGrant::known("x").unwrap_err()),
        ],
        NoScopes => [E::NoScopes],
        TooLong => [E::TooLong],
        InvalidLifetime => [E::InvalidLifetime("0s".into())],
        ExceedsToken => [
            exceeds(ExcessRight::Scope(ScopeGrant::known("admin:*").unwrap())),
            exceeds(ExcessRight::Connections),
            exceeds(ExcessRight::Tier(RateTier::Free)),
            exceeds(ExcessRight::Expiry("2026-12-01T00:00:00Z".parse().unwrap())),
            exceeds(ExcessRight::User),
        ],
        ExceedsRole => [E::ExceedsRole {
            role: OperatorRole::Editor,
            grant: ScopeGrant::known("approvals:write").unwrap(),
        }],
        TierIsLocal => [E::TierIsLocal],
        NoConnections => [E::NoConnections(name())],
        Conflict => [E::Conflict("ci".into())],
    });
    assert_snap("errors_api_tokens", &text);
}

#[test]
fn links() {
    let (entity, resource, object) = ("customer/42".to_owned(), "contacts".to_owned(), "15".to_owned());
    let remove = "integ link remove customer/42 slack/contacts".to_owned();
    let text = errors!(LinkOperationError {
        NotFound => [E::NotFound { what: entity.clone() }],
        EntityLinked => [E::EntityLinked {
            entity: entity.clone(),
            connection: slack(),
            resource: resource.clone(),
            object: object.clone(),
            remove: remove.clone(),
        }],
        ObjectLinked => [E::ObjectLinked {
            entity: entity.clone(),
            connection: slack(),
            resource: resource.clone(),
            object,
            user: Some("u_1".parse().unwrap()),
            remove: remove.clone(),
        }],
        SeveralUsers => [E::SeveralUsers { entity, connection: slack(), resource, remove }],
        InvalidImport => [E::InvalidImport { reason: "the heading lacks object".into() }],
    });
    assert_snap("errors_links", &text);
}

#[test]
fn sync_operations() {
    let stream = || StreamName { connection: slack(), stream: "users".to_owned() };
    let text = errors!(SyncOperationError {
        InvertedRange => [E::InvertedRange],
        NeverSynced => [
            E::NeverSynced { stream: stream(), required: Vec::new() },
            E::NeverSynced { stream: stream(), required: vec!["from".into()] },
        ],
        NothingStored => [
            E::NothingStored { connection: Some(slack()) },
            E::NothingStored { connection: None },
        ],
        ForeignFolder => [E::ForeignFolder { folder: "/srv/data".into() }],
        Folder => [E::Folder { folder: "/srv/data".into(), source: io() }],
        AmbiguousPartition => [E::AmbiguousPartition { stream: stream(), values: [("channel".to_owned(), "C1".to_owned())].into() }],
        PartitionNotFound => [E::PartitionNotFound { stream: stream() }],
        InvalidCursor => [E::InvalidCursor { stream: stream(), text: "x".into(), example: "2026-11-20" }],
        NoHistory => [E::NoHistory { count: 2 }],
        ExportMismatch => [E::ExportMismatch { connection: slack(), connector: "github".into(), version: 1 }],
        JobNotFound => [E::JobNotFound { id: 7 }],
        JobNotRunning => [E::JobNotRunning { id: 7 }],
        InvalidSchedule => [E::InvalidSchedule { text: "every 5s".into(), reason: "the interval is too short".into() }],
        ScheduleNotFound => [
            E::ScheduleNotFound { target: SyncTarget { connection: slack(), stream: Some("users".into()) } },
            E::ScheduleNotFound { target: SyncTarget { connection: slack(), stream: None } },
        ],
        SeveralConnections => [E::SeveralConnections { count: 2 }],
    });
    assert_snap("errors_sync_operations", &text);
}

#[test]
fn endpoints() {
    let endpoint = || "ep_1".parse().unwrap();
    let not_json = || serde_json::from_str::<u8>("{").unwrap_err();
    let text = errors!(EndpointError {
        EndpointNotFound => [E::EndpointNotFound("ep_1".into())],
        InvalidDeliveryId => [E::InvalidDeliveryId("x".into())],
        DeliveryNotFound => [E::DeliveryNotFound(DeliveryId(1))],
        InvalidUrl => [E::InvalidUrl("ftp://x".into(), "it is not http or https")],
        Http => [E::Http(HttpError::Timeout { host: "hooks.example".into(), after: MINUTE })],
        Disabled => [E::Disabled(endpoint())],
        InvalidSetting => [E::InvalidSetting { what: "the rate", value: "0/s".into(), expected: "1/s to 1000/s" }],
        InvalidJson => [E::InvalidJson { source: not_json() }],
        SchemaMismatch => [E::SchemaMismatch { kind: "invoice.paid".into(), problems: vec!["/amount is missing".into()] }],
        UnknownEventType => [E::UnknownEventType("invoice.paid".into())],
        Read => [E::Read { source: io() }],
        TooLarge => [E::TooLarge { size: 300_000, limit: 262_144 }],
        InvalidMessageId => [E::InvalidMessageId("a b".into())],
        DuplicateMessageId => [E::DuplicateMessageId("first".into())],
        AlreadyRunning => [E::AlreadyRunning],
        Store => [E::Store(StoreError::ReadOnlyNewer)],
    });
    assert_snap("errors_endpoints", &text);
}
