//! Sign-in, tokens, connections, calls of vendors' APIs.

use integ::api::{ApiError, PagingError};
use integ::connect::{ConnectCommand, ConnectError, PromptError};
use integ::connector::{AuthorizationServer, ErrorClass, Pointer, TemplateError};
use integ::error::Hint;
use integ::http::HttpError;
use integ::http::loopback::BindError;
use integ::json::JsonError;
use integ::oauth::protected_resource::ResourceError;
use integ::oauth::refresh::AccessTokenError;
use integ::oauth::{AuthCapabilities, ErrorDescription, OAuthError, PkceSupport};
use integ::runtime::{RuntimeError, SessionError};
use integ::signing::assertion::AssertionError;
use integ::store::StoreError;

use super::{MINUTE, RECONNECT, errors, io, slack};
use crate::snapshots::assert_snap;

fn lock_error(source: std::io::Error) -> StoreError {
    StoreError::Lock { path: "/data/locks/grant-1.lock".into(), source }
}

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
        InvalidGrant => [refused()],
        ErrorResponse => [
            E::ErrorResponse { code: "invalid_client".into(), description: described() },
            E::ErrorResponse { code: "redirect_uri_mismatch".into(), description: None },
        ],
        ServerUnavailable => [E::ServerUnavailable { status: 503, retry_after: None }, E::ServerUnavailable { status: 429, retry_after: Some(MINUTE) }],
        MalformedResponse => [E::MalformedResponse { endpoint: "token endpoint", reason: "it has no access_token".into() }],
        Http => [E::Http(unreachable())],
        Template => [E::Template(template())],
        Signing => [E::Signing(AssertionError::MissingKey("private_key".into()))],
        Certificate => [E::Certificate(SessionError::InvalidCertificate { connection: "slack".into(), reconnect: RECONNECT.into() })],
        ClockSkew => [
            E::ClockSkew { seconds: 7200, reason: "invalid_grant: the assertion was issued in the future".into() },
            E::ClockSkew { seconds: -90, reason: "invalid_grant".into() },
        ],
        MissingEndpoint => [E::MissingEndpoint("token")],
        InvalidMetadata => [
            E::InvalidMetadata { issuer: "https://id.example".into(), reason: "it is not JSON".into(), metadata_issuer: None },
            E::InvalidMetadata {
                issuer: "https://id.example".into(),
                reason: "it names another issuer".into(),
                metadata_issuer: Some("https://id.example/realm".into()),
            },
        ],
        MetadataNotFound => [E::MetadataNotFound { issuer: "https://id.example".into(), reason: "https://id.example/.well-known/openid-configuration answered 404".into() }],
        DiscoveryUnavailable => [E::DiscoveryUnavailable { issuer: "https://id.example".into(), reason: "it answered 503".into() }],
        IssuerMismatch => [E::IssuerMismatch { expected: "https://id.example".into(), received: "https://evil.example".into() }],
        Bind => [E::Bind { source: taken() }],
        Serve => [E::Serve { source: io() }],
        TimedOut => [E::TimedOut { retry_after: MINUTE }],
        DeviceCodeExpired => [E::DeviceCodeExpired],
        S256Unsupported => [
            E::S256Unsupported { support: PkceSupport::PlainOnly },
            E::S256Unsupported { support: PkceSupport::NoMethod },
            E::S256Unsupported { support: PkceSupport::Unstated },
        ],
        RegistrationRefused => [E::RegistrationRefused { code: "invalid_redirect_uri".into(), description: described() }],
    });
    let access = errors!(AccessTokenError {
        NeedsReauth => [E::NeedsReauth { connection: slack(), reason: "invalid_grant".into(), reconnect: reconnect() }],
        Disconnected => [E::Disconnected { connection: slack(), reconnect: reconnect() }],
        Expired => [E::Expired { connection: slack(), reconnect: reconnect() }],
        NotRefreshable => [
            E::NotRefreshable { connection: slack(), is_key: true, reconnect: reconnect() },
            E::NotRefreshable { connection: slack(), is_key: false, reconnect: reconnect() },
        ],
        LifetimeTooShort => [
            E::LifetimeTooShort { connection: slack(), lifetime: MINUTE, min_ttl: MINUTE * 2, refreshable: true, reconnect: reconnect() },
            E::LifetimeTooShort { connection: slack(), lifetime: MINUTE, min_ttl: MINUTE * 2, refreshable: false, reconnect: reconnect() },
        ],
        RefreshFailed => [
            E::RefreshFailed { connection: slack(), reconnect: reconnect(), source: Box::new(refused()) },
            E::RefreshFailed { connection: slack(), reconnect: reconnect(), source: Box::new(OAuthError::Http(unreachable())) },
        ],
        LockTimeout => [
            E::LockTimeout { connection: slack(), timeout: MINUTE, path: Some("/data/locks/1.lock".into()) },
            E::LockTimeout { connection: slack(), timeout: MINUTE, path: None },
        ],
        Lock => [
            E::Lock { connection: slack(), source: lock_error(io()) },
            E::Lock { connection: slack(), source: lock_error(std::io::ErrorKind::ReadOnlyFilesystem.into()) },
        ],
        Interrupted => [E::Interrupted { connection: slack() }],
    });
    assert_snap("errors_oauth", &(text + &access));
}

fn invalid_host(command: ConnectCommand) -> ConnectError {
    ConnectError::InvalidParam {
        command,
        name: "host".into(),
        value: "a b".into(),
        expected: "a host name",
        example: Some("git.example.com".into()),
    }
}

fn unknown_auth() -> ConnectError {
    let command = ConnectCommand { connector: "slack".into(), command: "integ connect slack --sandbox".into() };
    ConnectError::UnknownAuth { command, auth: "saml".into(), known: vec!["oauth".into()] }
}

fn other_resource() -> ConnectError {
    ConnectError::OtherResource {
        name: slack(),
        known: "https://mcp.example/mcp".into(),
        command: "integ connect https://other.example/mcp --as OTHER".into(),
    }
}

fn no_server() -> ResourceError {
    ResourceError::NotFound { url: "https://mcp.example/mcp".parse().unwrap(), status: 404 }
}

fn prompt_errors() -> String {
    errors!(PromptError {
        NoTerminal => [E::NoTerminal { prompt: "A client id".into(), missing: "--client-id".into() }],
        Empty => [E::Empty],
        Interrupted => [E::Interrupted],
        TooLong => [E::TooLong { limit: 65_536 }],
        File => [E::File { path: "key.pem".into(), source: io() }],
        Read => [E::Read { source: io() }],
    })
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
        has_device_code: true,
        has_paste: true,
        pkce_param: Some("pkce".into()),
        client_auth_param: Some("client_auth".into()),
        key_field: None,
    };
    let failed = |source| ConnectError::OAuth {
        command: requested(),
        offers: Box::new(offers.clone()),
        source: Box::new(source),
    };
    let text = errors!(ConnectError {
        UnknownAuth => [unknown_auth()],
        MissingApp => [E::MissingApp { command: requested() }],
        MissingAppForServer => [E::MissingAppForServer { command: requested(), server: Box::new(server) }],
        MissingClientSecret => [E::MissingClientSecret { command: requested() }],
        MissingParam => [E::MissingParam { command: requested(), name: "site".into(), prompt: "The site".into() }],
        UnknownParam => [E::UnknownParam { command: requested(), name: "sit".into(), known: vec!["site".into()] }],
        SecretInArguments => [E::SecretInArguments { command: requested(), name: "private_key".into() }],
        InvalidChoice => [E::InvalidChoice { command: requested(), name: "region".into(), value: "mars".into(), choices: labels() }],
        InvalidParam => [invalid_host(requested())],
        InvalidKey => [E::InvalidKey { command: requested(), prompt: "a bot token".into(), why: "it begins with xoxb-".into(), flag: "--with-token".into() }],
        InvalidClient => [E::InvalidClient { value: "client id", reason: "it is a URL" }],
        KeyRejected => [E::KeyRejected { command: requested(), why: "invalid_auth".into() }],
        UnsupportedGrant => [E::UnsupportedGrant { command: requested(), grant: "device codes" }],
        PeerCheckRequired => [E::PeerCheckRequired { command: requested() }],
        HttpsRedirectRequired => [E::HttpsRedirectRequired { command: requested() }],
        HttpsPublicUrlRequired => [E::HttpsPublicUrlRequired { command: requested() }],
        ChoiceRequired => [E::ChoiceRequired { command: requested(), param: "site".into(), labels: labels() }],
        InvalidUrl => [E::InvalidUrl { url: "http://mcp.example/mcp".into(), reason: "it is neither https nor http on this machine" }],
        OtherResource => [other_resource()],
        RegistrationUnsupported => [E::RegistrationUnsupported { command: requested(), issuer: "https://id.example".into() }],
        Resource => [E::Resource { command: requested(), source: Box::new(no_server()) }],
        EmptyGrant => [E::EmptyGrant],
        UnknownChoice => [E::UnknownChoice { command: requested(), value: "Gamma".into(), param: "site".into(), labels: labels() }],
        ResourceNotGranted => [E::ResourceNotGranted {
            command: requested(),
            current: "Gamma".into(),
            param: "site".into(),
            labels: labels(),
            command_for_new_name: "integ connect slack --as beta".into(),
        }],
        ScopesDropped => [E::ScopesDropped {
            name: slack(),
            dropped: vec!["chat:write".into(), "users:read".into()],
            hint: Box::new(Hint::new("to drop them:", format!("{RECONNECT} --scope channels:read --yes"))),
        }],
        AccountMismatch => [E::AccountMismatch {
            name: slack(),
            expected: "Acme".into(),
            found: "Beta".into(),
            connect: "integ connect slack --as beta".into(),
        }],
        FollowUp => [E::FollowUp { status: 500 }],
        NameTaken => [E::NameTaken { name: slack(), target: " in the workspace work".into(), command: RECONNECT.into() }],
        OtherUser => [E::OtherUser { name: slack(), user: "u_1".parse().unwrap(), command: RECONNECT.into() }],
        SandboxConsentFailed => [E::SandboxConsentFailed { status: 500 }],
        InvalidCallback => [E::InvalidCallback],
        OAuth => [
            failed(OAuthError::TimedOut { retry_after: MINUTE }),
            failed(OAuthError::Bind { source: taken() }),
            failed(OAuthError::S256Unsupported { support: PkceSupport::PlainOnly }),
            failed(OAuthError::ErrorResponse { code: "invalid_client".into(), description: None }),
        ],
        Prompt => [E::Prompt(PromptError::Empty)],
    });
    assert_snap("errors_connect", &(text + &prompt_errors()));
}

#[test]
fn app() {
    let text = errors!(RuntimeError {
        ConnectionNotFound => [
            E::ConnectionNotFound { name: slack(), workspace_note: " in the workspace work".into(), suggestion: Some("slack".into()), connect: None, is_inside_exec: false },
            E::ConnectionNotFound { name: slack(), workspace_note: String::new(), suggestion: None, connect: Some(RECONNECT.into()), is_inside_exec: false },
            E::ConnectionNotFound { name: slack(), workspace_note: String::new(), suggestion: None, connect: None, is_inside_exec: false },
            E::ConnectionNotFound { name: slack(), workspace_note: String::new(), suggestion: None, connect: None, is_inside_exec: true },
        ],
        Runtime => [E::Runtime { source: io() }],
        Sandbox => [E::Sandbox { source: io() }],
        SandboxState => [E::SandboxState {
            connector: "slack".into(),
            source: serde_json::from_str::<u8>("{").unwrap_err(),
        }],
        NoVault => [E::NoVault],
        Interrupted => [E::Interrupted],
        PortInUse => [E::PortInUse { source: taken() }],
    });
    let url = || "https://mcp.example/mcp".parse().unwrap();
    let resource = errors!(ResourceError {
        NoSignIn => [E::NoSignIn { url: url() }],
        NotFound => [no_server()],
        Redirected => [E::Redirected { url: Box::new(url()), target: Box::new("https://mcp.example/v2".parse().unwrap()) }],
        Unavailable => [E::Unavailable { url: url(), status: 503 }],
        InvalidMetadata => [E::InvalidMetadata { url: url(), reason: "it is not JSON".into() }],
        OtherIssuer => [E::OtherIssuer {
            url: Box::new(url()),
            issuer: "https://id.example".into(),
            servers: vec!["https://login.example".into()],
        }],
        Http => [E::Http(unreachable())],
    });
    let session = errors!(SessionError {
        Template => [E::Template { connection: "slack@work".into(), reconnect: RECONNECT.into(), source: template() }],
        MissingBaseUrl => [E::MissingBaseUrl { connection: "slack@work".into(), reconnect: RECONNECT.into(), path: "/users".into() }],
        InvalidCertificate => [E::InvalidCertificate { connection: "slack@work".into(), reconnect: RECONNECT.into() }],
    });
    assert_snap("errors_app", &(text + &resource + &session));
}

#[test]
fn api() {
    let action = || "users.list".to_owned();
    let refused = |class| ApiError::Refused {
        connection: slack(),
        what: action(),
        class,
        error_message: Some("not_allowed".into()),
        hint: None,
    };
    let paging = |source| ApiError::Paging { connection: slack(), what: action(), source };
    let at = || Pointer::parse("/next").unwrap();
    let text = errors!(ApiError {
        UnknownAction => [
            E::UnknownAction { connector: "slack".into(), action: "user.list".into(), suggestion: Some(action()) },
            E::UnknownAction { connector: "slack".into(), action: "x".into(), suggestion: None },
        ],
        InvalidParameters => [E::InvalidParameters {
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
            E::Refused { connection: slack(), what: action(), class: ErrorClass::Fail, error_message: None, hint: Some(Box::new(integ::error::Hint::text("ask the owner"))) },
        ],
        MalformedResponse => [
            E::MalformedResponse { connection: slack(), action: action(), status: 200, source: JsonError::Empty },
            E::MalformedResponse { connection: slack(), action: action(), status: 200, source: JsonError::Html },
            E::MalformedResponse { connection: slack(), action: action(), status: 200, source: JsonError::Truncated { at: 9 } },
            E::MalformedResponse { connection: slack(), action: action(), status: 200, source: JsonError::Syntax { what: "a comma is missing", at: 9 } },
            E::MalformedResponse { connection: slack(), action: action(), status: 200, source: JsonError::TooDeep },
            E::MalformedResponse { connection: slack(), action: action(), status: 200, source: JsonError::UnknownCharset { charset: "x".into() } },
        ],
        InvalidHeader => [E::InvalidHeader { header: "nonsense".into() }],
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
