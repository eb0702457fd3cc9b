//! Requests to the server, each with a valid token.

use std::time::Duration;

use super::session::SessionHeaders;
use super::stop_signal::{StopSignal, Stopped};
use crate::api;
use crate::connector::ErrorClass;
use crate::error::{Error, Result};
use crate::http::{HttpError, Request, Response, StreamingResponse};
use crate::mcp_client::proxy::ProxyError;
use crate::mcp_client::{ACCEPT, Refusal, describe_refusal};
use crate::model::ConnectionName;
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{Session, Workspace};
use crate::secret::Secret;
use crate::vault::ConnectionWithGrant;

/// How much is read of a refusal, and for how long.
const MAX_REFUSAL_BYTES: usize = 1 << 20;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of a session may take. Nothing depends on it.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(2);

/// One HTTP request of the relay.
#[derive(Debug)]
pub(super) struct UpstreamRequest<'a> {
    pub(super) method: &'static str,
    /// The message; absent for `GET` and `DELETE`.
    pub(super) body: Option<&'a str>,
    pub(super) session: &'a SessionHeaders,
    pub(super) headers: Vec<(String, String)>,
    /// How long the head of the answer may take.
    pub(super) limit: Duration,
}

/// What the server answered.
#[derive(Debug)]
pub(super) enum UpstreamAnswer {
    /// Status 200 to 299; the body is still to be read.
    Accepted(StreamingResponse),
    Refused(UpstreamRefusal),
}

#[derive(Debug)]
pub(super) struct UpstreamRefusal {
    pub(super) response: Response,
    pub(super) class: Option<ErrorClass>,
    pub(super) refusal: Refusal,
    /// How long the server asks to wait.
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum UpstreamError {
    Stopped,
    /// No token or no request: nothing was sent.
    Unsent(Error),
    Http(HttpError),
}

impl From<Stopped> for UpstreamError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for UpstreamError {
    fn from(error: Error) -> Self {
        Self::Unsent(error)
    }
}

/// The server of a connection.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) connection: &'a ConnectionName,
}

impl Upstream<'_> {
    /// Sends a request. A token that the server refuses is refreshed once; everybody who uses the connection shares that
    /// refresh. The connection is read again each time, so that one that was reconnected meanwhile works at once.
    pub(super) async fn open(
        self,
        request: &UpstreamRequest<'_>,
        stop: &StopSignal,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let http = &self.workspace.engine.http;
        let mut loaded = refresh::fresh_grant(self.workspace, self.connection, Freshness::Usable).await?;
        let mut is_renewed = false;
        loop {
            let session = self.workspace.session(loaded.connection.clone()).await?;
            let built = self.build(&session, &loaded, request)?;
            stop.race(self.wait_for_rate_limit(&session)).await?;
            let answer = stop.race(http.open(&built, &session.route, request.limit)).await?;
            let answer = answer.map_err(UpstreamError::Http)?;
            let now = self.workspace.clock.now();
            self.workspace.rate_limiter(&session).update(&session.connector.rate, &answer.head, now);
            if answer.head.is_success() {
                return Ok(UpstreamAnswer::Accepted(answer));
            }
            let head = answer.head.clone();
            let body = tokio::time::timeout(REFUSAL_TIMEOUT, answer.into_response(MAX_REFUSAL_BYTES));
            // The status says enough if the rest cannot be read.
            let response = stop.race(body).await?.ok().and_then(std::result::Result::ok).unwrap_or(head);
            let class = api::classify_response(&session, &response);
            if class == Some(ErrorClass::Auth) && !is_renewed && session.connection.expiry.is_refreshable {
                is_renewed = true;
                let want = Freshness::NewerThan { than: loaded.stored_grant.generation };
                loaded = refresh::fresh_grant(self.workspace, self.connection, want).await?;
                continue;
            }
            let refusal = describe_refusal(&session, &response, class);
            let retry_after = response.retry_after(&session.connector.rate, now);
            return Ok(UpstreamAnswer::Refused(UpstreamRefusal { response, class, refusal, retry_after }));
        }
    }

    /// Ends a session, if the stored token is still good: a program that is about to end, and may be killed, refreshes nothing.
    pub(super) async fn end_session(self, headers: &SessionHeaders) {
        let request = UpstreamRequest {
            method: "DELETE",
            body: None,
            session: headers,
            headers: Vec::new(),
            limit: SESSION_END_TIMEOUT,
        };
        let ended = async {
            let loaded = refresh::load_grant(self.workspace, self.connection).await?;
            if !refresh::is_fresh(self.workspace, &loaded, Freshness::Usable)? {
                return Ok(());
            }
            let session = self.workspace.session(loaded.connection.clone()).await?;
            let built = self.build(&session, &loaded, &request)?;
            self.workspace.engine.http.open(&built, &session.route, request.limit).await?;
            Ok(())
        };
        let ended: Result<()> = ended.await;
        if let Err(error) = ended {
            tracing::debug!("the MCP session was not ended: {}", error.message());
        }
    }

    fn build(self, session: &Session, loaded: &ConnectionWithGrant, asked: &UpstreamRequest<'_>) -> Result<Request> {
        let not_mcp = || ProxyError::NotMcp { connection: self.connection.clone() };
        let health = session.health().ok_or_else(not_mcp)?;
        let path = session.path(&health.path, &loaded.grant)?.ok_or_else(not_mcp)?;
        let mut request = session.request_to(asked.method, &path, &loaded.grant)?;
        request.body = None;
        let accept = if asked.method == "GET" { "text/event-stream" } else { ACCEPT };
        request.set_header("accept", Secret::from(accept));
        if let Some(revision) = &asked.session.revision {
            request.set_header("mcp-protocol-version", Secret::from(revision.as_str()));
        }
        if let Some(id) = &asked.session.id {
            request.set_header("mcp-session-id", id.clone());
        }
        for (name, value) in &asked.headers {
            request.set_header(name, Secret::from(value.as_str()));
        }
        Ok(match asked.body {
            Some(body) => request.body("application/json", body.as_bytes().to_vec()),
            None => request,
        })
    }

    async fn wait_for_rate_limit(self, session: &Session) {
        let limiter = self.workspace.rate_limiter(session);
        let clock = &self.workspace.clock;
        while let Some(wait) = limiter.take(session.connector.rate.cost_of(None), clock.now()) {
            clock.sleep(wait).await;
        }
    }
}
