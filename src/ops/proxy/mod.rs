//! The operation that lends a connection's credential to programs on this machine that take a base URL: a server on loopback
//! that adds the credential to their requests.
//!
//! `admission` judges a request by its head: it comes from this machine, has the proxy's own token, and its method and path are
//! allowed. `forward` gets the person's approval of what destroys, records the request, sends it with the credential, and masks
//! the credentials of the workspace in what comes back. The credential never leaves, so that connections whose credentials are
//! never handed out can be used.

mod admission;
mod forward;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::json;
use thiserror::Error;

use self::admission::AdmittedHead;
use super::agents::CredentialRegistry;
use super::approvals::ApprovalError;
use super::{Effect, Operation, OperationScope};
use crate::connector::HttpMethod;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::http::loopback::{self, BindError, ListenAddresses};
use crate::http::serve::{
    self, BodyReadError, FullResponse, RequestHandler, Response, StatusCode, StreamedBody, StreamedResponse, header,
    streamed,
};
use crate::model::{ConnectionAccess, ConnectionName};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::proxy::CredentialProxyView;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[Operation::local("proxy", OperationScope::Connections, Effect::Destroy)];

/// Bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How long answers may still take at the end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Characters of the shortest token that programs present.
pub const MIN_TOKEN_LENGTH: usize = 16;

/// How a connection is lent.
#[derive(Clone, Debug)]
pub struct CredentialProxyOptions {
    pub connection: ConnectionName,
    /// Any free one if 0.
    pub port: u16,
    /// What programs present in place of a credential.
    pub token: Secret,
    pub methods: Vec<HttpMethod>,
    /// Patterns of paths, in which `*` matches any text; every path if empty.
    pub paths: Vec<String>,
}

/// Why a proxy does not start, or does not forward a request.
#[derive(Debug, Error)]
pub enum CredentialProxyError {
    #[error("cannot open the port of the proxy")]
    Bind { connection: ConnectionName, source: BindError },
    #[error("the requests of {0} have no base URL")]
    NoBase(ConnectionName),
    #[error("the token of the proxy needs at least {MIN_TOKEN_LENGTH} characters")]
    ShortToken,
    #[error("the proxy answers requests to its own address alone, and none of web pages")]
    Foreign,
    #[error("the request does not have the token of the proxy")]
    Unauthorized,
    #[error("the proxy does not allow {0}")]
    Method(String),
    #[error("the proxy does not allow the path {0}")]
    Path(String),
    #[error("the request asks for another method by {0:?}")]
    MethodOverride(String),
    #[error("the request is too large for a person to approve")]
    TooLargeToApprove,
    #[error("the body cannot be read")]
    Body,
    #[error("the service answered with a content encoding in which credentials cannot be found")]
    Encoded,
}

impl Remedy for CredentialProxyError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Bind { connection, .. } => Diagnostic::new(Kind::Failed, "port_in_use")
                .hint(Hint::new("use any free port:", format!("integ proxy {connection}"))),
            Self::NoBase(name) => Diagnostic::new(Kind::Usage, "no_base_url").run(format!("integ test {name}")),
            Self::ShortToken => Diagnostic::new(Kind::Usage, "short_token")
                .hint(Hint::text("leave INTEG_PROXY_TOKEN unset, and a token is created")),
            Self::Foreign => Diagnostic::new(Kind::Usage, "foreign_origin"),
            Self::Unauthorized => Diagnostic::new(Kind::AuthNeeded, "invalid_token"),
            Self::Method(_) => Diagnostic::new(Kind::Usage, "method_not_allowed"),
            Self::Path(_) => Diagnostic::new(Kind::Usage, "path_not_allowed"),
            Self::MethodOverride(_) => Diagnostic::new(Kind::Usage, "method_override"),
            Self::TooLargeToApprove | Self::Body => Diagnostic::new(Kind::Usage, "invalid_body"),
            Self::Encoded => Diagnostic::new(Kind::Rejected, "unreadable_answer"),
        }
    }
}

impl CredentialProxyError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Foreign | Self::Path(_) => StatusCode::FORBIDDEN,
            Self::Encoded => StatusCode::BAD_GATEWAY,
            Self::TooLargeToApprove => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Bind { .. } | Self::NoBase(_) | Self::ShortToken | Self::MethodOverride(_) | Self::Body => {
                StatusCode::BAD_REQUEST
            }
        }
    }
}

/// Answers the requests of programs on this machine.
struct CredentialProxy {
    /// Limited to the connection.
    workspace: Arc<Workspace>,
    options: CredentialProxyOptions,
    address: SocketAddr,
    credentials: CredentialRegistry,
}

/// Lends a connection until a stop is requested. `started` gets the base URL and the token once the port is open.
///
/// # Errors
/// [`CredentialProxyError`], unknown connections, and those of `started`.
pub async fn lend_connection(
    workspace: &Workspace,
    options: CredentialProxyOptions,
    started: impl FnOnce(CredentialProxyView) -> Result<()>,
) -> Result<()> {
    if options.token.expose().len() < MIN_TOKEN_LENGTH {
        return Err(CredentialProxyError::ShortToken.into());
    }
    let connection = workspace.connection(&options.connection).await?;
    let session = workspace.session(connection.clone()).await?;
    if session.auth.base.is_none() && session.connector.api.base.is_none() {
        return Err(CredentialProxyError::NoBase(connection.name).into());
    }
    let taken = |source| CredentialProxyError::Bind { connection: options.connection.clone(), source };
    let listeners = loopback::bind(ListenAddresses::Both, options.port).map_err(taken)?;
    let unusable = |source| taken(BindError { address: ([127, 0, 0, 1], options.port).into(), holder: None, source });
    let address = listeners[0].local_addr().map_err(unusable)?;
    let view = CredentialProxyView {
        connection: connection.name,
        base_url: format!("http://{address}"),
        token: options.token.clone(),
    };
    let name = options.connection.clone();
    let proxy = CredentialProxy {
        workspace: Arc::new(workspace.limited_to(ConnectionAccess::Only([connection.id].into()))),
        address,
        credentials: CredentialRegistry::new(Arc::new(workspace.limited_to(ConnectionAccess::All))),
        options,
    };
    let unusable =
        |source| CredentialProxyError::Bind { connection: name, source: BindError { address, holder: None, source } };
    let server = serve::Server::start_public(listeners, proxy).map_err(unusable)?;
    started(view)?;
    workspace.engine.shutdown.requested().await;
    server.finish(ANSWER_TIMEOUT).await;
    Ok(())
}

/// An error as an answer: problem details (RFC 9457) with the codes of the command line.
fn refusal(error: &Error) -> FullResponse {
    let approval = error.downcast_ref::<ApprovalError>().map(|error| match error {
        ApprovalError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::FORBIDDEN,
    });
    let own = error.downcast_ref::<CredentialProxyError>().map(CredentialProxyError::status).or(approval);
    let status =
        own.unwrap_or_else(|| StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::BAD_GATEWAY));
    let hint = error.hint().and_then(|hint| hint.command);
    let document = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": error.code(),
        "detail": error.on_one_line(),
        "hint": hint,
    });
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let value = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

impl RequestHandler for CredentialProxy {
    type Admitted = AdmittedHead;
    type Body = StreamedBody;

    async fn admit(&self, head: Parts) -> Result<(AdmittedHead, usize), FullResponse> {
        match self.admit_head(&head) {
            Ok(admitted) => Ok((admitted, MAX_BODY_BYTES)),
            Err(error) => Err(refusal(&error.into())),
        }
    }

    async fn respond(&self, head: AdmittedHead, body: Result<Bytes, BodyReadError>) -> StreamedResponse {
        let forwarded = match body {
            Ok(body) => Box::pin(self.forward(head, body)).await,
            Err(unread) => return streamed(unread.answer()),
        };
        forwarded.unwrap_or_else(|error| streamed(refusal(&error)))
    }
}
