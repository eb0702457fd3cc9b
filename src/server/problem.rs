//! Failures as problem details (RFC 9457), with the codes and hints of the command line.

use thiserror::Error;

use super::reply::protect;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy};
use crate::http::serve::{FullResponse, Response, StatusCode, header};
use crate::model::OperatorRole;
use crate::ops::api_tokens::TokenExchangeError;
use crate::ops::approvals::ApprovalError;
use crate::view::problem::ProblemView;

const PROBLEM_JSON: &str = "application/problem+json";

/// A failure as a response.
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) view: ProblemView,
    headers: Vec<(header::HeaderName, header::HeaderValue)>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let approval = error.downcast_ref::<ApprovalError>().and_then(ApprovalError::approval).map(ToString::to_string);
        let status = match error.downcast_ref::<RequestError>() {
            Some(request) => request.status(),
            None if approval.is_some() => StatusCode::FORBIDDEN,
            None if is_refused_identity(&error) => StatusCode::UNAUTHORIZED,
            None => StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let detail = match status {
            StatusCode::INTERNAL_SERVER_ERROR => {
                // What went wrong inside is for the owner's log.
                tracing::error!("a request failed: {}", error.on_one_line());
                error.message()
            }
            _ => error.on_one_line(),
        };
        let location = approval.as_ref().map(|id| format!("/v1/approvals/{id}"));
        let title = status.canonical_reason().unwrap_or("Error");
        let view = ProblemView { status: status.as_u16(), detail, approval, ..ProblemView::new(&error, title) };
        let problem = Self { status, view, headers: Vec::new() };
        match location {
            Some(location) => problem.with_header(header::LOCATION, &location),
            None => problem,
        }
    }
}

fn is_refused_identity(error: &Error) -> bool {
    error.downcast_ref::<TokenExchangeError>().is_some_and(TokenExchangeError::is_refusal)
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Error::from(error).into()
    }
}

impl Problem {
    /// Adds a header to the response.
    #[must_use]
    pub(super) fn with_header(mut self, name: header::HeaderName, value: &impl ToString) -> Self {
        if let Ok(value) = header::HeaderValue::try_from(value.to_string()) {
            self.headers.push((name, value));
        }
        self
    }

    /// Returns the response.
    pub(super) fn into_http(self) -> FullResponse {
        let mut response = Response::new(serde_json::to_vec(&self.view).unwrap_or_default().into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(PROBLEM_JSON));
        protect(headers);
        headers.extend(self.headers);
        response
    }
}

/// A request that is refused before its operation runs.
#[derive(Debug, Error)]
pub(super) enum RequestError {
    #[error("this server does not answer for the host {host:?}")]
    ForeignHost { host: String },
    #[error("requests from the origin {origin:?} are not accepted")]
    ForeignOrigin { origin: String },
    #[error("the API has no such path")]
    UnknownPath,
    #[error("the path does not support {method}")]
    MethodNotAllowed { method: String },
    #[error("the request has no API token")]
    NoToken,
    #[error("the API token is invalid, expired, disabled or revoked")]
    InvalidToken,
    #[error("the API token does not have the scope {scope}")]
    MissingScope { scope: String },
    #[error("the role {role} may not do this ({operation})")]
    MissingRole { role: OperatorRole, operation: &'static str },
    #[error("the API token is not limited to named connections, which agents need")]
    NoNamedConnections,
    #[error("the API token has used up its {limit} requests per minute")]
    RateLimited { limit: u32 },
    #[error("this address has used up its {limit} exchanges per minute")]
    TooManyExchanges { limit: u32 },
    #[error("too many requests are being answered")]
    Overloaded,
    #[error("the request failed because of a bug in integ")]
    Panicked,
    #[error("{value:?} is not a valid {name}")]
    Path { name: &'static str, value: String },
    #[error("invalid query{at}: {reason}")]
    Query { at: String, reason: String },
    #[error("invalid body{at}: {reason}")]
    Body { at: String, reason: String },
    /// The request is as described, but a value cannot be used.
    #[error("invalid value{at}: {reason}")]
    Value { at: String, reason: String },
    #[error("the body is not JSON")]
    NotJson,
    #[error("the body is larger than {} KiB", limit / 1024)]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("invalid idempotency key")]
    InvalidIdempotencyKey,
    #[error("the idempotency key was used for another request")]
    OtherRequest,
    #[error("the first request with this idempotency key is still being answered")]
    StillRunning,
    #[error(
        "the first request with this idempotency key succeeded, and its response held a secret that is returned once"
    )]
    SecretReturned,
    #[error("the path has no entity tag that If-Match could be compared with")]
    NoEntityTag,
    #[error("the first request with this idempotency key was interrupted after it had begun to change something")]
    UnknownOutcome,
    #[error("invalid cursor")]
    InvalidCursor,
    #[error("the object has changed since it was read")]
    Changed,
    #[error("the audit log cannot be written: {reason}")]
    NotAudited { reason: String },
}

impl RequestError {
    pub(super) fn query(error: &serde_path_to_error::Error<serde_html_form::de::Error>) -> Self {
        Self::Query { at: place(error.path()), reason: error.inner().to_string() }
    }

    pub(super) fn body(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        Self::Body { at: place(error.path()), reason: error.inner().to_string() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::ForeignHost { .. }
            | Self::ForeignOrigin { .. }
            | Self::MissingScope { .. }
            | Self::MissingRole { .. }
            | Self::NoNamedConnections => StatusCode::FORBIDDEN,
            Self::UnknownPath | Self::Path { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoToken | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::RateLimited { .. } | Self::TooManyExchanges { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::NotAudited { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Query { .. }
            | Self::Body { .. }
            | Self::Value { .. }
            | Self::InvalidIdempotencyKey
            | Self::InvalidCursor => StatusCode::BAD_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoEntityTag => StatusCode::BAD_REQUEST,
            Self::OtherRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Self::StillRunning | Self::SecretReturned | Self::UnknownOutcome => StatusCode::CONFLICT,
            Self::Changed => StatusCode::PRECONDITION_FAILED,
        }
    }
}

/// ` at a.b`, or nothing for the whole.
fn place(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    if path == "." { String::new() } else { format!(" at {path}") }
}

impl Remedy for RequestError {
    fn diagnostic(&self) -> Diagnostic {
        let usage = |code| Diagnostic::new(Kind::Usage, code);
        match self {
            Self::ForeignHost { host } => usage("foreign_host").hint(Hint::new(
                "add it to the hosts of the server:",
                format!("integ config set serve.hosts {}", shlex::try_quote(host).unwrap_or_default()),
            )),
            Self::ForeignOrigin { .. } => usage("foreign_origin"),
            Self::UnknownPath => Diagnostic::new(Kind::NotFound, "unknown_path")
                .hint(Hint::text("the paths are described at /docs and in /openapi.json")),
            Self::MethodNotAllowed { .. } => usage("method_not_allowed"),
            Self::NoToken => Diagnostic::new(Kind::AuthNeeded, "no_token").hint(Hint::new(
                "send it as `Authorization: Bearer integ_…`; create one:",
                "integ api-token create NAME --scope connections:read",
            )),
            Self::InvalidToken => Diagnostic::new(Kind::AuthNeeded, "invalid_token")
                .hint(Hint::new("list the API tokens:", "integ api-token list")),
            Self::MissingScope { scope } => usage("missing_scope")
                .hint(Hint::new("create a token with it:", format!("integ api-token create NAME --scope {scope}"))),
            Self::MissingRole { .. } => usage("missing_role")
                .hint(Hint::new("at the machine of the server:", "integ operator set NAME --role editor")),
            Self::NoNamedConnections => usage("no_named_connections").hint(Hint::new(
                "create a token with it:",
                "integ api-token create NAME --scope connections:call --connection CONNECTION",
            )),
            Self::RateLimited { .. } | Self::TooManyExchanges { .. } => {
                Diagnostic::new(Kind::Temporary, "rate_limited")
            }
            Self::Overloaded => Diagnostic::new(Kind::Temporary, "overloaded"),
            Self::Panicked => Diagnostic::new(Kind::Failed, "internal"),
            Self::Path { .. } => Diagnostic::new(Kind::NotFound, "invalid_path"),
            Self::Query { .. } => usage("invalid_query"),
            Self::Body { .. } => usage("invalid_body"),
            Self::Value { .. } => usage("invalid_value"),
            Self::NotJson => usage("not_json").hint(Hint::text("send `Content-Type: application/json`")),
            Self::TooLarge { .. } => usage("body_too_large"),
            Self::TooSlow => Diagnostic::new(Kind::Temporary, "body_too_slow"),
            Self::InvalidIdempotencyKey => {
                usage("invalid_idempotency_key").hint(Hint::text("use 1 to 255 visible ASCII characters"))
            }
            Self::OtherRequest => usage("idempotency_key_reused"),
            Self::StillRunning => Diagnostic::new(Kind::Temporary, "idempotency_key_in_use"),
            Self::SecretReturned => Diagnostic::new(Kind::Conflict, "secret_returned_once").hint(Hint::text(
                "if it did not arrive, remove what `Location` names, and create another with a new key",
            )),
            Self::NoEntityTag => usage("no_entity_tag").hint(Hint::text("leave out `If-Match`")),
            Self::UnknownOutcome => Diagnostic::new(Kind::Conflict, "idempotency_outcome_unknown")
                .hint(Hint::text("read whether it was done; if not, send it again with another key")),
            Self::InvalidCursor => usage("invalid_cursor").hint(Hint::text("use the `next_cursor` of the page before")),
            Self::Changed => usage("changed").hint(Hint::text("read it again, and send its new ETag in `If-Match`")),
            Self::NotAudited { .. } => Diagnostic::new(Kind::Vault, "audit_failed"),
        }
    }
}
