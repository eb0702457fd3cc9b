//! One request to the API from its authorization to its response: scope, rate limit, idempotency, audit, operation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::approval::{approval_request, named_connection};
use super::authentication::Caller;
use super::call::RawCall;
use super::http::source_text;
use super::idempotency;
use super::problem::{Problem, RequestError};
use super::reply::Reply;
use super::route::ApiRoute;
use super::table::ApiRouteTable;
use super::usage::{UsageLog, outcome_of};
use crate::audit::{AuditCaller, AuditTicket};
use crate::error::Result;
use crate::hash::sha256;
use crate::hex;
use crate::http::serve::{FullResponse, Method, StatusCode, header};
use crate::model::{Admission, ApprovalId, ApprovalPolicy, Connection, IdempotencyKey};
use crate::ops::api_tokens;
use crate::ops::approvals::{self, ApprovalError};
use crate::runtime::Workspace;

/// A request to a route of the API.
pub(super) struct ApiRequest {
    pub(super) table: Arc<ApiRouteTable>,
    pub(super) route: usize,
    pub(super) usage: Arc<UsageLog>,
    pub(super) request_id: String,
    pub(super) source: Option<SocketAddr>,
    /// Limited to the connections of the caller.
    pub(super) workspace: Arc<Workspace>,
    pub(super) caller: Arc<Caller>,
    pub(super) path: BTreeMap<&'static str, String>,
    pub(super) query: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) if_match: Option<Vec<u8>>,
    pub(super) content_type: Option<Vec<u8>>,
    /// What the rate limit said, once it was asked.
    pub(super) rate: Option<Admission>,
}

impl ApiRequest {
    pub(super) fn route(&self) -> &ApiRoute {
        &self.table.routes()[self.route]
    }

    /// Counts the request against the rate limit of the token, if one makes it, then checks the scope.
    ///
    /// # Errors
    /// [`RequestError::RateLimited`], [`RequestError::MissingScope`], and [`RequestError::InvalidToken`] for a token that was
    /// revoked meanwhile.
    pub(super) async fn authorize(mut self) -> Result<Self, Problem> {
        let span = self.span();
        let checked = self.check_rights().instrument(span.clone()).await;
        if let Err(problem) = &checked {
            span.in_scope(|| self.record(problem.status));
        }
        checked.map(|()| self)
    }

    /// What the log says of everything that happens for the request.
    fn span(&self) -> tracing::Span {
        tracing::trace_span!(
            "request",
            request_id = self.request_id,
            workspace = self.workspace.name.as_str(),
            connection = self.path.get("connection").map(String::as_str).unwrap_or_default()
        )
    }

    fn record(&self, status: StatusCode) {
        let now = self.workspace.clock.now();
        let connection = self.path.get("connection").map(String::as_str).unwrap_or_default();
        tracing::info!(
            request_id = self.request_id,
            operation = self.route().operation.name,
            caller = self.caller.actor().id().unwrap_or_default(),
            connection,
            status = status.as_u16(),
            "API request"
        );
        if let Some(token) = self.caller.token() {
            self.usage.record(&token.id, now, self.route().operation.name, outcome_of(status));
        }
    }

    async fn check_rights(&mut self) -> Result<(), Problem> {
        let caller = Arc::clone(&self.caller);
        if let Some(token) = caller.token() {
            let Some(rate) = api_tokens::admit(&self.workspace, token).await? else {
                return Err(RequestError::InvalidToken.into());
            };
            self.rate = Some(rate);
            if !rate.is_allowed {
                let wait = rate.resets_at.duration_since(self.workspace.clock.now_micros());
                let seconds = u64::try_from(wait.as_secs()).unwrap_or(0) + 1;
                let problem = Problem::from(RequestError::RateLimited { limit: rate.limit });
                return Err(self.limits(problem).with_header(header::RETRY_AFTER, &seconds));
            }
        }
        let scope = self.route().operation.api_scope();
        if !self.caller.allows(&scope) {
            let missing = || match &*self.caller {
                Caller::ApiToken(_) => RequestError::MissingScope { scope: scope.to_string() },
                Caller::Operator(operator) => {
                    RequestError::MissingRole { role: operator.role, operation: self.route().operation.name }
                }
            };
            // It is recorded as refused.
            let _ = self.audited(None, async { Err::<(), _>(missing().into()) }).await;
            let challenge = format!("Bearer realm=\"integ\", error=\"insufficient_scope\", scope=\"{scope}\"");
            let problem = Problem::from(missing());
            return Err(self.limits(problem).with_header(header::WWW_AUTHENTICATE, &challenge));
        }
        Ok(())
    }

    /// Runs the operation to its end, also if the caller leaves, and responds.
    pub(super) async fn run(self, body: Bytes, permit: OwnedSemaphorePermit) -> FullResponse {
        let rate = self.rate;
        let has_etag = self.route().method == Method::GET;
        let span = self.span();
        let work = async move {
            let result = self.perform(body).await;
            self.record(result.as_ref().map_or_else(|problem| problem.status, |reply| reply.status));
            drop(permit);
            result
        };
        let task = tokio::spawn(work.instrument(span));
        let result = match task.await {
            Ok(result) => result,
            // A panic, which its hook has reported.
            Err(_) => Err(Problem::from(RequestError::Panicked)),
        };
        let mut response = match result {
            Ok(reply) => {
                let etag = if has_etag { etag(&reply) } else { None };
                let mut response = reply.into_http();
                if let Some(etag) = etag.and_then(|etag| header::HeaderValue::try_from(etag).ok()) {
                    response.headers_mut().insert(header::ETAG, etag);
                }
                response
            }
            Err(problem) => problem.into_http(),
        };
        if let Some(rate) = rate {
            for (name, value) in rate_headers(&rate) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Runs the operation and returns its reply, for a caller in this process that goes on to its end.
    ///
    /// # Errors
    /// The problem that the API would return.
    pub(super) async fn reply(self, body: Bytes) -> Result<Reply, Problem> {
        let result = self.perform(body).await;
        self.record(result.as_ref().map_or_else(|problem| problem.status, |reply| reply.status));
        result
    }

    async fn perform(&self, body: Bytes) -> Result<Reply, Problem> {
        let route = self.route();
        let mut connection = None;
        if let Some(name) = self.path.get("connection") {
            // What the token may not use does not exist, whatever the operation reads first.
            let invalid = |_| RequestError::Path { name: "connection", value: name.clone() };
            connection = Some(self.workspace.connection(&name.parse().map_err(invalid)?).await?);
        }
        self.check_content(&body)?;
        self.check_unchanged().await?;
        let key = self.idempotency_key.clone().filter(|_| route.is_repeatable);
        let claim = match key.zip(self.caller.token().map(|token| token.id.to_string())) {
            None => None,
            Some((key, caller)) => {
                let key = IdempotencyKey { caller, key };
                let path = self.path.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>();
                let parts: [&[u8]; 4] = [route.path.as_bytes(), path.as_bytes(), self.query.as_bytes(), &body];
                match idempotency::claim(&self.workspace, key, &self.request_id, &parts).await? {
                    Ok(claimed) => Some(claimed),
                    Err(reply) => return Ok(reply),
                }
            }
        };
        let result = self.run_approved(self.raw_call(body), connection.as_ref()).await;
        if let Some(claim) = claim {
            claim.finish(&self.workspace, &result, route.has_secret_reply).await?;
        }
        result
    }

    /// Runs the operation if the request needs no approval, or uses up the one that it has.
    async fn run_approved(&self, raw: RawCall, connection: Option<&Connection>) -> Result<Reply, Problem> {
        let route = self.route();
        let policy = self.caller.approval_policy();
        let Some(token) = self.caller.token().filter(|_| policy != ApprovalPolicy::None) else {
            return self.audited(None, route.handle(raw)).await;
        };
        let effect = route.effect(raw.clone()).await?;
        if !policy.covers(effect) {
            return self.audited(None, route.handle(raw)).await;
        }
        // Nobody is asked about a request that would be refused.
        route.check(raw.clone())?;
        let named = if connection.is_none() { named_connection(&raw).await } else { None };
        let request = approval_request(route, effect, &raw, connection.or(named.as_ref()), &token.id)?;
        match approvals::claim_approval(&self.workspace, request).await {
            Ok(approval) => self.audited(Some(approval), route.handle(raw)).await,
            Err(error) => {
                let approval = error.downcast_ref::<ApprovalError>().and_then(ApprovalError::approval).cloned();
                self.audited(approval, async { Err(error) }).await
            }
        }
    }

    /// Begins the entry of the request in the audit log. What cannot be recorded is not done.
    async fn begin(&self, approval: Option<ApprovalId>) -> Result<AuditTicket<'_>, Problem> {
        let caller = AuditCaller {
            actor: self.caller.actor(),
            source: source_text(self.source),
            request_id: Some(self.request_id.clone()),
            approval,
        };
        let begun = self.route().operation.begin(&self.workspace, caller).await;
        begun.map_err(|error| RequestError::NotAudited { reason: error.on_one_line() }.into())
    }

    /// Runs the operation, and records it: a change before it is made, what is read before it is returned.
    async fn audited<T>(
        &self,
        approval: Option<ApprovalId>,
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T, Problem> {
        Ok(self.begin(approval).await?.run(operation).await?)
    }

    fn raw_call(&self, body: Bytes) -> RawCall {
        RawCall {
            workspace: Arc::clone(&self.workspace),
            caller: Arc::clone(&self.caller),
            path: self.path.clone(),
            query: self.query.clone(),
            body,
            has_body: self.route().body.is_some(),
        }
    }

    /// A body is JSON; a route without one ignores what is empty.
    fn check_content(&self, body: &Bytes) -> Result<(), RequestError> {
        if body.is_empty() {
            return Ok(());
        }
        if self.route().body.is_none() {
            return Err(RequestError::Body { at: String::new(), reason: "this request has none".to_owned() });
        }
        let content_type = self.content_type.as_deref().unwrap_or_default();
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_json = media_type.eq_ignore_ascii_case(b"application/json")
            || (media_type.len() > 5 && media_type[media_type.len() - 5..].eq_ignore_ascii_case(b"+json"));
        if is_json { Ok(()) } else { Err(RequestError::NotJson) }
    }

    /// Compares `If-Match` with the object as `GET` returns it now (RFC 9110, section 13.1.1). What cannot be compared is
    /// refused: the caller relies on it.
    async fn check_unchanged(&self) -> Result<(), Problem> {
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let route = self.route();
        let reads = |other: &&ApiRoute| other.method == Method::GET && other.path == route.path;
        if route.method == Method::GET {
            return Ok(());
        }
        let Some(read) = self.table.routes().iter().find(reads) else { return Err(RequestError::NoEntityTag.into()) };
        let raw = RawCall { query: String::new(), body: Bytes::new(), has_body: false, ..self.raw_call(Bytes::new()) };
        let present = etag(&read.handle(raw).await?);
        let wanted = String::from_utf8_lossy(wanted);
        let is_match = wanted.split(',').map(str::trim).any(|tag| tag == "*" || Some(tag) == present.as_deref());
        if is_match { Ok(()) } else { Err(RequestError::Changed.into()) }
    }

    fn limits(&self, problem: Problem) -> Problem {
        let headers = self.rate.iter().flat_map(rate_headers);
        headers.fold(problem, |problem, (name, value)| problem.with_header(name, &value.to_str().unwrap_or_default()))
    }
}

/// The headers of a rate limit (draft-ietf-httpapi-ratelimit-headers).
fn rate_headers(rate: &Admission) -> Vec<(header::HeaderName, header::HeaderValue)> {
    let policy = format!("\"minute\";q={};w=60", rate.limit);
    let limit = format!("\"minute\";r={};t=60", rate.remaining);
    let header = |name: &'static str, value: String| {
        Some((header::HeaderName::from_static(name), header::HeaderValue::try_from(value).ok()?))
    };
    [header("ratelimit-policy", policy), header("ratelimit", limit)].into_iter().flatten().collect()
}

/// Returns the entity tag of a response with a body: a digest of its bytes.
fn etag(reply: &Reply) -> Option<String> {
    (reply.status == StatusCode::OK).then(|| format!("\"{}\"", hex::encode(&sha256(&reply.body)[..12])))
}
