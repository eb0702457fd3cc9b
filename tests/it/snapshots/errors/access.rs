//! Sign-in, tokens, connections, calls of vendors' APIs.

use integ::api::{ApiError, PagingError};
use integ::connect::{ConnectCommand, ConnectError, PromptError};
use integ::connector::{AuthorizationServer, ErrorClass, Pointer, TemplateError};
use integ::http::HttpError;
use integ::http::loopback::BindError;
use integ::json::JsonError;
use integ::oauth::refresh::AccessTokenError;
use integ::oauth::{AuthCapabilities, ErrorDescription, OAuthError};
use integ::runtime::{AppError, SessionError};

use super::{MINUTE, RECONNECT, errors, io, slack};
use crate::snapshots::assert_snap;

fn taken() -> BindError {
    BindError { address: "127.0.0.1:7421".parse().unwrap(), holder: None, source: io() }
}

fn template() -> TemplateError {
    TemplateError::MissingValue("host".into())
}

fn refused() -> OAuthError {
    OAuthError::InvalidGrant {
        code: "invalid_grant".into(),
        description: ErrorDescription::new("the token was revoked"),
    }
}

fn unreachable() -> HttpError {
    HttpError::Timeout { host: "slack.com".into(), after: MINUTE }
}

#[test]
fn oauth() {
    let reconnect = || RECONNECT.to_owned();
    let described = || ErrorDescription::new("what the vendor says");
    let text = errors!(OAuthError {
        Denied => [
            E::Denied { code: "access_denied".into(), description: described() },
            E::Denied { code: "invalid_scope".into(), description: None },
        ],
        Refused => [refused()],
        Rejected => [
            E::Rejected { code: "invalid_client".into(), description: described() },
            E::Rejected { code: "redirect_uri_mismatch".into(), description: None },
        ],
        Temporary => [E::Temporary { status: 503, after: None }, E::Temporary { status: 429, after: Some(MINUTE) }],
        Malformed => [E::Malformed { endpoint: "token endpoint", why: "it has no access_token".into() }],
        Http => [E::Http(unreachable())],
        Template => [E::Template(template())],
        NoEndpoint => [E::NoEndpoint("token")],
        Discovery => [
            E::Discovery { issuer: "https://id.example".into(), why: "it is not JSON".into(), named: None },
            E::Discovery {
                issuer: "https://id.example".into(),
                why: "it names another issuer".into(),
                named: Some("https://id.example/realm".into()),
            },
        ],
        Unavailable => [E::Unavailable { issuer: "https://id.example".into(), why: "it answered 503".into() }],
        Issuer => [E::Issuer { expected: "https://id.example".into(), got: "https://evil.example".into() }],
        Listener => [E::Listener { source: taken() }],
        Serve => [E::Serve { source: io() }],
        TimedOut => [E::TimedOut { after: MINUTE }],
        DeviceExpired => [E::DeviceExpired],
        NoS256 => [E::NoS256 { plain: true }, E::NoS256 { plain: false }],
    });
    let access = errors!(AccessTokenError {
        NeedsReauth => [E::NeedsReauth { connection: slack(), reason: "invalid_grant".into(), reconnect: reconnect() }],
        Disconnected => [E::Disconnected { connection: slack(), reconnect: reconnect() }],
        Expired => [E::Expired { connection: slack(), reconnect: reconnect() }],
        NotRefreshable => [
            E::NotRefreshable { connection: slack(), is_key: true, reconnect: reconnect() },
            E::NotRefreshable { connection: slack(), is_key: false, reconnect: reconnect() },
        ],
        ShortLived => [
            E::ShortLived { connection: slack(), lasts: MINUTE, wanted: MINUTE * 2, refreshable: true, reconnect: reconnect() },
            E::ShortLived { connection: slack(), lasts: MINUTE, wanted: MINUTE * 2, refreshable: false, reconnect: reconnect() },
        ],
        Refresh => [
            E::Refresh { connection: slack(), reconnect: reconnect(), source: Box::new(refused()) },
            E::Refresh { connection: slack(), reconnect: reconnect(), source: Box::new(OAuthError::Http(unreachable())) },
        ],
        Held => [E::Held { connection: slack(), after: MINUTE, path: "/data/locks/1.lock".into() }],
        Lock => [
            E::Lock { connection: slack(), path: "/data/locks/1.lock".into(), source: io() },
            E::Lock {
                connection: slack(),
                path: "/data/locks/1.lock".into(),
                source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
            },
        ],
        Interrupted => [E::Interrupted { connection: slack() }],
    });
    assert_snap("errors_oauth", &(text + &access));
}

#[test]
fn connect() {
    let requested = || ConnectCommand { connector: "slack".into(), command: RECONNECT.into() };
    let labels = || vec!["Acme".to_owned(), "Beta".to_owned()];
    let server = AuthorizationServer {
        url: "https://git.example.com/oauth/token".into(),
        param: "host".into(),
        value: "git.example.com".into(),
        has_default: true,
    };
    let offers = AuthCapabilities {
        device: true,
        paste: true,
        pkce: Some("pkce".into()),
        client_auth: Some("client_auth".into()),
    };
    let failed =
        |source| ConnectError::OAuth { requested: requested(), offers: offers.clone(), source: Box::new(source) };
    let text = errors!(ConnectError {
        NoApp => [E::NoApp { requested: requested() }],
        NoAppAt => [E::NoAppAt { requested: requested(), server: Box::new(server) }],
        NoSecret => [E::NoSecret { requested: requested() }],
        MissingParam => [E::MissingParam { requested: requested(), name: "site".into(), prompt: "The site".into() }],
        UnknownParam => [E::UnknownParam { requested: requested(), name: "sit".into(), known: vec!["site".into()] }],
        BadChoice => [E::BadChoice { requested: requested(), name: "region".into(), value: "mars".into(), choices: labels() }],
        BadParam => [E::BadParam {
            requested: requested(),
            name: "host".into(),
            value: "a b".into(),
            expected: "a host name",
            example: Some("git.example.com".into()),
        }],
        BadKey => [E::BadKey { requested: requested(), prompt: "a bot token".into(), why: "it begins with xoxb-".into() }],
        KeyRefused => [E::KeyRefused { requested: requested(), why: "invalid_auth".into() }],
        NotOffered => [E::NotOffered { requested: requested(), what: "device codes" }],
        PeerCheckNeeded => [E::PeerCheckNeeded { requested: requested() }],
        HttpsOnly => [E::HttpsOnly { requested: requested() }],
        Choice => [E::Choice { requested: requested(), param: "site".into(), labels: labels() }],
        NothingGranted => [E::NothingGranted],
        UnknownChoice => [E::UnknownChoice { requested: requested(), given: "Gamma".into(), param: "site".into(), labels: labels() }],
        SiteTaken => [E::SiteTaken {
            requested: requested(),
            before: "Gamma".into(),
            param: "site".into(),
            labels: labels(),
            other: "integ connect slack --as beta".into(),
        }],
        FollowUp => [E::FollowUp { status: 500 }],
        NameTaken => [E::NameTaken { name: slack(), place: " in the workspace work".into(), command: RECONNECT.into() }],
        NoConsent => [E::NoConsent { status: 500 }],
        BadPaste => [E::BadPaste],
        OAuth => [
            failed(OAuthError::TimedOut { after: MINUTE }),
            failed(OAuthError::Bind { source: taken() }),
            failed(OAuthError::S256Unsupported { plain: true }),
            failed(OAuthError::ErrorResponse { code: "invalid_client".into(), description: None }),
        ],
        Ask => [E::Ask(PromptError::Empty)],
    });
    let ask = errors!(PromptError {
        NoTerminal => [E::NoTerminal { prompt: "A client id".into(), missing: "give it with --client-id".into() }],
        Nothing => [E::Nothing],
        TooLong => [E::TooLong { limit: 65_536 }],
        Read => [E::Read { source: io() }],
    });
    assert_snap("errors_connect", &(text + &ask));
}

#[test]
fn app() {
    let text = errors!(AppError {
        NoConnection => [
            E::NoConnection { name: slack(), place: " in the workspace work".into(), likely: Some("slack".into()), connect: None },
            E::NoConnection { name: slack(), place: String::new(), likely: None, connect: Some(RECONNECT.into()) },
            E::NoConnection { name: slack(), place: String::new(), likely: None, connect: None },
        ],
        NoGlobal => [E::NoGlobal],
        Runtime => [E::Runtime { source: io() }],
        Sandbox => [E::Sandbox { source: io() }],
        Port => [E::Port { source: taken() }],
    });
    let session = errors!(SessionError {
        Template => [E::Template { connection: "slack@work".into(), reconnect: RECONNECT.into(), source: template() }],
        NoBase => [E::NoBase { connection: "slack@work".into(), reconnect: RECONNECT.into(), path: "/users".into() }],
    });
    assert_snap("errors_app", &(text + &session));
}

#[test]
fn api() {
    let action = || "users.list".to_owned();
    let refused = |class| ApiError::Refused {
        connection: slack(),
        what: action(),
        class,
        said: Some("not_allowed".into()),
        hint: None,
    };
    let paging = |source| ApiError::Paging { connection: slack(), what: action(), source };
    let at = || Pointer::parse("/next").unwrap();
    let text = errors!(ApiError {
        UnknownAction => [
            E::UnknownAction { connector: "slack".into(), action: "user.list".into(), likely: Some(action()) },
            E::UnknownAction { connector: "slack".into(), action: "x".into(), likely: None },
        ],
        Input => [E::Input {
            connection: slack(),
            action: action(),
            problems: vec!["limit is missing".into(), "there is no lmit".into()],
            usage: "integ call slack@work users.list limit=N".into(),
        }],
        WrongAuth => [E::WrongAuth { connection: slack(), action: action(), auth: "bot-token".into(), connect: "integ connect slack --as work --auth user".into() }],
        MissingScopes => [E::MissingScopes {
            connection: slack(),
            action: action(),
            scopes: vec!["users:read".into()],
            reconnect: format!("{RECONNECT} --add-scope users:read"),
        }],
        Template => [E::Template { connection: slack(), action: action(), reconnect: RECONNECT.into(), source: template().into() }],
        ForeignHost => [E::ForeignHost { connection: slack(), connector: "slack".into(), origin: "https://evil.example".into() }],
        Refused => [
            refused(ErrorClass::Auth),
            refused(ErrorClass::Permission),
            refused(ErrorClass::RateLimit),
            refused(ErrorClass::NotFound),
            refused(ErrorClass::CursorExpired),
            refused(ErrorClass::Retry),
            refused(ErrorClass::Fail),
            E::Refused { connection: slack(), what: action(), class: ErrorClass::Fail, said: None, hint: Some(Box::new(integ::error::Hint::text("ask the owner"))) },
        ],
        Unreadable => [
            E::Unreadable { connection: slack(), action: action(), status: 200, source: JsonError::Empty },
            E::Unreadable { connection: slack(), action: action(), status: 200, source: JsonError::Html },
            E::Unreadable { connection: slack(), action: action(), status: 200, source: JsonError::Truncated { at: 9 } },
            E::Unreadable { connection: slack(), action: action(), status: 200, source: JsonError::Syntax { what: "a comma is missing", at: 9 } },
            E::Unreadable { connection: slack(), action: action(), status: 200, source: JsonError::TooDeep },
            E::Unreadable { connection: slack(), action: action(), status: 200, source: JsonError::UnknownCharset { charset: "x".into() } },
        ],
        Header => [E::Header { header: "nonsense".into() }],
        RepeatedPage => [E::RepeatedPage { connection: slack(), at: "/users".into() }],
        Paging => [
            paging(PagingError::Shape { at: at(), expected: "a text" }),
            paging(PagingError::Link { target: "next".into() }),
            paging(PagingError::MissingNext),
            paging(PagingError::MissingRecordId { at: at() }),
        ],
    });
    assert_snap("errors_api", &text);
}
