//! Sends a request on with the credential, and the answer back without.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::admission::AdmittedHead;
use super::{CredentialProxy, CredentialProxyError};
use crate::api::{PathRequest, known_effect, method_override};
use crate::audit::{self, AuditTicket};
use crate::error::Result;
use crate::http::serve::{BoxError, Response, StatusCode, StreamedResponse, header};
use crate::http::{Request, StreamingResponse};
use crate::json::canonical;
use crate::mask::{Masker, SecretPatterns};
use crate::model::{ApprovalId, AuditActor, AuditRecord, ConsentPurpose, Effect};
use crate::oauth::refresh::{self, Freshness};
use crate::ops::approvals::{self, ApprovalError, ExactRequest};
use crate::runtime::Session;
use crate::vault::ConnectionWithGrant;
use crate::{consent, hex};

const OPERATION: &str = "proxy";

/// How long a service may take until the head of its answer is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How long nothing may come of a body, and after how long what was held back is shown if it gives nothing away.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024 * 1024;

/// A longer wait for the rate limit of the connection is left to the program.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Headers of an answer that end at the proxy. Its body is decoded and may be masked; a cookie would be a credential.
const DROPPED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-md5",
    "digest",
    "keep-alive",
    "proxy-authenticate",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "alt-svc",
];

/// Headers of a request that say nothing about what it does.
const NEUTRAL: &[&str] = &["accept", "accept-language", "content-type", "user-agent"];

impl CredentialProxy {
    /// Forwards a request, with a person's approval if it destroys, and records it.
    ///
    /// # Errors
    /// [`CredentialProxyError`], [`ApprovalError`], and those of the credential, the request and the connection to the service.
    pub(super) async fn forward(&self, head: AdmittedHead, body: Bytes) -> Result<StreamedResponse> {
        if let Some(name) = method_override([], "", &head.content_type, &body) {
            return Err(CredentialProxyError::MethodOverride(name).into());
        }
        let connection = self.workspace.connection(&self.options.connection).await?;
        let session = self.workspace.session(connection).await?;
        let effect = self.effect(&session, &head);
        let approval = match self.approval(&session, &head, &body, effect).await {
            Ok(approval) => approval,
            Err(error) => {
                let waiting = error.downcast_ref::<ApprovalError>().and_then(ApprovalError::approval).cloned();
                return self.begin(&head, effect, waiting).await?.run(async { Err(error) }).await;
            }
        };
        let ticket = self.begin(&head, effect, approval).await?;
        ticket.run(self.send(&session, &head, body)).await
    }

    /// What a request does. The owner who allows a path by name knows what an undeclared request to it does: it writes.
    fn effect(&self, session: &Session, head: &AdmittedHead) -> Effect {
        let undeclared = if self.options.paths.is_empty() { Effect::Destroy } else { Effect::Write };
        known_effect(&session.connector, head.method, &head.target).unwrap_or(undeclared)
    }

    async fn approval(
        &self,
        session: &Session,
        head: &AdmittedHead,
        body: &Bytes,
        effect: Effect,
    ) -> Result<Option<ApprovalId>> {
        if effect != Effect::Destroy {
            return Ok(None);
        }
        let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
        let mut headers: Vec<&(String, String)> =
            head.headers.iter().filter(|(name, _)| !NEUTRAL.contains(&name.as_str())).collect();
        headers.sort();
        let content = content(&head.content_type, body)?;
        let request = ExactRequest {
            token: None,
            operation: OPERATION,
            effect,
            connection: Some(&session.connection),
            method: head.method.as_str(),
            path,
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            body: format!(r#"{{"content":{content},"headers":{}}}"#, json!(headers)),
        };
        let request = request.describe().ok_or(CredentialProxyError::TooLargeToApprove)?;
        Ok(Some(approvals::claim_approval(&self.workspace, request).await?))
    }

    async fn begin(
        &self,
        head: &AdmittedHead,
        effect: Effect,
        approval: Option<ApprovalId>,
    ) -> Result<AuditTicket<'_>> {
        let now = self.workspace.clock.now_millis();
        // A query may hold anything, secrets included.
        let path = head.path.split('?').next().unwrap_or_default();
        let approval = approval.map(|approval| format!(", approval {approval}")).unwrap_or_default();
        let record = AuditRecord::new(now, AuditActor::Local, OPERATION, effect)
            .with_connection(&self.options.connection, None)
            .with_detail(&format!("{} {path}{approval}", head.method.as_str()));
        audit::begin(&self.workspace, record).await
    }

    async fn send(&self, session: &Session, head: &AdmittedHead, body: Bytes) -> Result<StreamedResponse> {
        consent::ensure(&self.workspace, &session.connection, &ConsentPurpose::Call).await?;
        self.wait_for_rate_limit(session).await;
        let name = &session.connection.name;
        let loaded = refresh::fresh_grant(&self.workspace, name, Freshness::Usable).await?;
        // What a refresh replaces must be known.
        self.credentials.patterns().await?;
        let mut answer = self.open(session, head, &body, &loaded).await?;
        if answer.head.status == StatusCode::UNAUTHORIZED.as_u16() && session.connection.expiry.is_refreshable {
            let want = Freshness::NewerThan { than: loaded.stored_grant.generation };
            let renewed = refresh::fresh_grant(&self.workspace, name, want).await?;
            answer = self.open(session, head, &body, &renewed).await?;
        }
        let now = self.workspace.clock.now();
        self.workspace.rate_limiter(session).update(&session.connector.rate, &answer.head, now);
        let is_encoded = answer.head.header("content-encoding").is_some_and(|encoding| encoding != "identity");
        if is_encoded {
            return Err(CredentialProxyError::Encoded.into());
        }
        let patterns = self.credentials.patterns().await?;
        Ok(self.answer(answer, patterns))
    }

    async fn wait_for_rate_limit(&self, session: &Session) {
        let clock = &self.workspace.clock;
        let limiter = self.workspace.rate_limiter(session);
        let cost = session.connector.rate.cost_of(None);
        while let Some(wait) = limiter.take(cost, clock.now()) {
            if wait > MAX_WAIT {
                // The service says it better than a proxy.
                break;
            }
            clock.sleep(wait).await;
        }
    }

    async fn open(
        &self,
        session: &Session,
        head: &AdmittedHead,
        body: &Bytes,
        loaded: &ConnectionWithGrant,
    ) -> Result<StreamingResponse> {
        let request = request(session, head, body, loaded)?;
        let stopwatch = crate::clock::Stopwatch::start();
        let opened = self.workspace.engine.http.open(&request, &session.route, HEAD_TIMEOUT).await;
        let status = opened.as_ref().ok().map(|opened| opened.head.status);
        self.workspace.metrics().record_call(session.connection.id, status, stopwatch.elapsed());
        Ok(opened?)
    }

    /// The answer for the program: its head without what ends here, and its body masked as it comes.
    fn answer(&self, answer: StreamingResponse, patterns: std::sync::Arc<SecretPatterns>) -> StreamedResponse {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(answer.head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        for (name, value) in answer.head.headers() {
            if DROPPED.contains(&name.to_ascii_lowercase().as_str()) {
                continue;
            }
            let masked = patterns.mask_text(value);
            if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), header::HeaderValue::try_from(&*masked))
            {
                response.headers_mut().append(name, value);
            }
        }
        let body = MaskedAnswer { answer, masker: Some(Masker::new(patterns)), bytes: 0 };
        let frames = stream::unfold(body, |mut body| async move {
            let part = body.next().await?;
            Some((part.map(|part| Frame::data(Bytes::from(part))), body))
        });
        response.map(|()| StreamBody::new(frames).boxed_unsync())
    }
}

/// The body of an answer, with its credentials masked.
struct MaskedAnswer {
    answer: StreamingResponse,
    /// Absent once the body is at its end.
    masker: Option<Masker>,
    bytes: usize,
}

impl MaskedAnswer {
    /// Returns the next part that can be shown; `None` at the end.
    async fn next(&mut self) -> Option<Result<Vec<u8>, BoxError>> {
        let mut waited = Duration::ZERO;
        loop {
            let masker = self.masker.as_mut()?;
            let shown = match tokio::time::timeout(PAUSE, self.answer.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    self.bytes += chunk.len();
                    waited = Duration::ZERO;
                    masker.push(&chunk)
                }
                Ok(Ok(None)) => {
                    let rest = self.masker.take()?.finish();
                    return (!rest.is_empty()).then_some(Ok(rest));
                }
                Ok(Err(error)) => {
                    self.masker = None;
                    return Some(Err(error.into()));
                }
                Err(_) => {
                    waited += PAUSE;
                    masker.pause()
                }
            };
            if self.bytes > MAX_ANSWER_BYTES || waited > IDLE_TIMEOUT {
                self.masker = None;
                return Some(Err("the answer is too large or too slow".into()));
            }
            if !shown.is_empty() {
                return Some(Ok(shown));
            }
        }
    }
}

/// The request with the credential in place of what the program presented.
fn request(session: &Session, head: &AdmittedHead, body: &Bytes, loaded: &ConnectionWithGrant) -> Result<Request> {
    let credentials = session.credential_headers(&loaded.grant)?;
    let is_own = |name: &str| credentials.iter().any(|(credential, _)| credential.eq_ignore_ascii_case(name));
    let headers: Vec<(String, String)> =
        head.headers.iter().filter(|(name, _)| name != "content-type" && !is_own(name)).cloned().collect();
    let has_body = !body.is_empty() || !head.content_type.is_empty();
    let path = PathRequest {
        session,
        method: head.method,
        path: &head.target,
        query: &[],
        headers: &headers,
        body: has_body.then(|| (head.content_type.clone(), body.to_vec())),
        // A program that wants its requests to be repeatable sends a key of its own.
        idempotency_key: &hex::encode(&crate::clock::random::<16>()),
    };
    let mut request = path.request(&loaded.grant)?;
    request.follows_redirects = false;
    Ok(request)
}

/// The body as a person reads it, in canonical JSON.
fn content(content_type: &str, body: &Bytes) -> Result<String, CredentialProxyError> {
    if body.is_empty() {
        return Ok("null".to_owned());
    }
    match std::str::from_utf8(body) {
        Ok(text) if content_type.to_ascii_lowercase().contains("json") => {
            canonical(text).map_err(|_| CredentialProxyError::Body)
        }
        Ok(text) => Ok(json!([content_type, text]).to_string()),
        Err(_) => Ok(Value::from(vec![content_type.to_owned(), STANDARD.encode(body)]).to_string()),
    }
}
