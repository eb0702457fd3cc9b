//! Whole calls: an action with its parameters, and a path with all its pages.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::Value;

use super::input::{Input, Parameters};
use super::paging::{PageToken, next_page_after, record_hashes, with_param};
use super::repeat_detector::{RepeatDetector, hash_of};
use super::request::{ActionRequest, PathRequest, check_own_host};
use super::send::{ApiResponse, GrantToken, RetryLimits, SendError, send};
use super::{ApiError, check_allowed, find_action, refusal_error};
use crate::clock::random;
use crate::connector::{Action, HttpMethod, Pagination, ParamKind};
use crate::error::Result;
use crate::hex;
use crate::http::{Body, Request, Response};
use crate::model::{ConnectionName, Grant};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{Session, Workspace};
use crate::secret::Secret;

/// Tries of a call that may be repeated.
const MAX_ATTEMPTS: u32 = 4;

/// A longer wait than this is left to the user.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// An action to call, with its parameters.
pub struct ActionCall<'a> {
    pub connection: &'a ConnectionName,
    pub action: &'a str,
    pub input: &'a Input,
    /// The user's own idempotency key; a random one where absent.
    pub idempotency_key: Option<&'a str>,
}

/// What was sent, or would be.
pub struct CompletedCall {
    pub session: Session,
    pub action: Action,
    pub response: ApiResponse,
}

/// The request that an order would send, with its session; what is missing is an error as it would be for the call, but
/// for scopes, which come back as a warning.
///
/// # Errors
/// [`ApiError`] and whatever keeps the connection from being loaded.
pub async fn dry_run(workspace: &Workspace, order: &ActionCall<'_>) -> Result<(Session, Request, Option<ApiError>)> {
    let loaded = refresh::load_grant(workspace, order.connection).await?;
    let token = GrantToken::from(&loaded);
    let session = workspace.session(loaded.connection).await?;
    let call = prepare(workspace, &session, order)?;
    let warning = check_allowed(&session, call.name, &call.action.auth, &call.action.scopes).err();
    let request = call.request(&token.grant)?;
    Ok((session, request, warning))
}

/// Does what an order says. Everything is checked before a token is touched.
///
/// # Errors
/// [`ApiError`], [`super::SendError`]; a refusal of the vendor is in the answer's class.
pub async fn call(workspace: &Workspace, order: &ActionCall<'_>) -> Result<CompletedCall> {
    Ok(try_call(workspace, order).await?)
}

/// The same, telling what was never sent from what may have been acted on.
///
/// # Errors
/// [`SendError`].
pub async fn try_call(workspace: &Workspace, order: &ActionCall<'_>) -> Result<CompletedCall, SendError> {
    let loaded = refresh::load_grant(workspace, order.connection).await.map_err(SendError::Build)?;
    let session = workspace.session(loaded.connection).await.map_err(SendError::Build)?;
    let built = |error: ApiError| SendError::Build(error.into());
    let call = prepare(workspace, &session, order).map_err(built)?;
    let action = call.action;
    check_allowed(&session, call.name, &action.auth, &action.scopes).map_err(built)?;
    let loaded =
        refresh::fresh_grant(workspace, order.connection, Freshness::Usable).await.map_err(SendError::Grant)?;
    let mut token = GrantToken::from(&loaded);
    let cost = session.connector.rate.cost_of(action.cost);
    let patience =
        RetryLimits { max_attempts: MAX_ATTEMPTS, max_wait: MAX_WAIT, is_idempotent: call.is_repeatable(), cost };
    let answer = send(workspace, &session, &mut token, patience, |grant| call.request(grant)).await?;
    let action = action.clone();
    Ok(CompletedCall { session, action, response: answer })
}

/// Finds the action of an order and checks its parameters. Whether the connection may call it is for the caller to check.
fn prepare<'a>(
    workspace: &Workspace,
    session: &'a Session,
    order: &ActionCall<'_>,
) -> Result<ActionRequest<'a>, ApiError> {
    let (name, action) = find_action(&session.connector, order.action)?;
    let parameters = Parameters { action, names: session.connector.api.names };
    let input = parameters.check(order.input).map_err(|problems| ApiError::InvalidParameters {
        connection: session.connection.name.clone(),
        action: name.to_owned(),
        problems,
        usage: usage_command(&session.connection.name, name, action),
    })?;
    let idempotency_key = key(order.idempotency_key);
    Ok(ActionRequest { session, name, action, input, idempotency_key, now: workspace.engine.clock.now() })
}

/// Returns the `integ call` command with everything that the action needs.
pub fn usage_command(connection: &ConnectionName, name: &str, action: &Action) -> String {
    let required = action.params.iter().filter(|(_, param)| param.required);
    let one_of = action.one_of.iter().filter_map(|group| group.first());
    let needed = required.map(|(name, _)| name).chain(one_of);
    let words = needed.map(|name| {
        let file = action.params.get(name).is_some_and(|param| param.kind == ParamKind::File);
        let value = if file { "FILE".to_owned() } else { name.to_uppercase() };
        format!(" {name}={value}")
    });
    format!("integ call {connection} {name}{}", words.collect::<String>())
}

fn key(given: Option<&str>) -> String {
    given.map_or_else(|| hex::encode(&random::<16>()), str::to_owned)
}

/// A path of the API that a user asked for.
pub struct PathCall<'a> {
    pub connection: &'a ConnectionName,
    pub method: HttpMethod,
    pub path: &'a str,
    pub query: &'a [(String, String)],
    pub headers: &'a [(String, String)],
    pub body: Option<(String, Vec<u8>)>,
    pub idempotency_key: Option<&'a str>,
    /// Follows the pages to the last.
    pub paginate: bool,
}

/// Takes the pages of a list.
pub trait PageSink: Send {
    /// Takes a page, or the service's refusal, which is an error afterwards; breaks if it wants no more.
    fn page(&mut self, response: &Response) -> impl Future<Output = Result<ControlFlow<()>>> + Send;
}

/// A sink that needs not wait.
impl<F: FnMut(&Response) -> Result<ControlFlow<()>> + Send> PageSink for F {
    async fn page(&mut self, response: &Response) -> Result<ControlFlow<()>> {
        self(response)
    }
}

/// Sends a request, and passes each page of its answer to `sink`.
///
/// # Errors
/// [`ApiError`], [`super::SendError`], and those of `sink`.
pub async fn fetch(workspace: &Workspace, ask: &PathCall<'_>, mut sink: impl PageSink) -> Result<()> {
    let session = workspace.session(refresh::load_grant(workspace, ask.connection).await?.connection).await?;
    let key = key(ask.idempotency_key);
    let path = PathRequest {
        session: &session,
        method: ask.method,
        path: ask.path,
        query: ask.query,
        headers: ask.headers,
        body: ask.body.clone(),
        idempotency_key: &key,
    };
    let what = format!("{} {}", ask.method.as_str(), ask.path);
    let walk = ApiPager {
        workspace,
        session: &session,
        what: &what,
        repeatable: path.is_repeatable(),
        cost: None,
        pages: session.connector.api.pages.as_ref(),
        sized: ask.method == HttpMethod::Get,
        paginate: ask.paginate,
    };
    walk.pages(|grant| path.request(grant), &mut sink).await
}

/// Calls an action that lists, and passes each page to `sink`. `pages` is how the list is paginated, if not as the
/// connector's others.
///
/// # Errors
/// [`ApiError`], [`super::SendError`], and those of `sink`.
pub async fn list(
    workspace: &Workspace,
    order: &ActionCall<'_>,
    pages: Option<&Pagination>,
    sink: &mut impl PageSink,
) -> Result<()> {
    let session = workspace.session(refresh::load_grant(workspace, order.connection).await?.connection).await?;
    let call = prepare(workspace, &session, order)?;
    let action = call.action;
    check_allowed(&session, call.name, &action.auth, &action.scopes)?;
    let walk = ApiPager {
        workspace,
        session: &session,
        what: call.name,
        repeatable: call.is_repeatable(),
        cost: action.cost,
        pages: pages.or(session.connector.api.pages.as_ref()),
        sized: action.method == HttpMethod::Get,
        paginate: true,
    };
    walk.pages(|grant| call.request(grant), sink).await
}

/// A list on its way from page to page.
struct ApiPager<'a> {
    workspace: &'a Workspace,
    session: &'a Session,
    what: &'a str,
    repeatable: bool,
    cost: Option<u32>,
    pages: Option<&'a Pagination>,
    /// Whether pages of the usual size are asked for.
    sized: bool,
    paginate: bool,
}

impl ApiPager<'_> {
    async fn pages(
        &self,
        build: impl Fn(&Grant) -> Result<Request> + Send + Sync,
        sink: &mut impl PageSink,
    ) -> Result<()> {
        let Self { workspace, session, pages, .. } = *self;
        let connection = &session.connection.name;
        let mut token = GrantToken::from(&refresh::fresh_grant(workspace, connection, Freshness::Usable).await?);
        let cost = session.connector.rate.cost_of(self.cost);
        let patience =
            RetryLimits { max_attempts: MAX_ATTEMPTS, max_wait: MAX_WAIT, is_idempotent: self.repeatable, cost };
        let mut asked = HashSet::new();
        let mut trail = RepeatDetector::default();
        let mut seen_records = 0;
        let mut turn: Option<PageToken> = None;
        loop {
            let request = |grant: &_| {
                let mut request = build(grant)?;
                if let Some(pages) = pages.filter(|_| self.paginate && self.sized) {
                    request.url = super::paging::with_page_size(pages, &request.url);
                }
                if let Some(turn) = &turn {
                    apply_page_token(&mut request, turn);
                    check_own_host(session, &request)?;
                }
                Ok(request)
            };
            let shown = request(&token.grant)?;
            let body = shown.body.as_ref().map(|body| body.bytes.expose().clone());
            let repeated = || {
                let at = crate::http::redact_url(&shown.url, &shown.secrets);
                ApiError::RepeatedPage { connection: connection.clone(), at }
            };
            if !asked.insert(hash_of((shown.url.as_str(), body))) {
                return Err(repeated().into());
            }
            let answer = send(workspace, session, &mut token, patience, request).await?;
            let flow = sink.page(&answer.response).await?;
            if let Some(class) = answer.error_class {
                return Err(refusal_error(session, self.what, class, &answer.response).into());
            }
            if flow.is_break() || !self.paginate {
                return Ok(());
            }
            let page = next_page_after(pages, &shown.url, turn.as_ref(), &answer.response, seen_records);
            let wrong =
                |source| ApiError::Paging { connection: connection.clone(), what: self.what.to_owned(), source };
            (turn, seen_records) = page.map_err(wrong)?;
            if turn.is_none() {
                return Ok(());
            }
            trail.add(&record_hashes(pages, &answer.response));
            if trail.is_endless() {
                return Err(repeated().into());
            }
        }
    }
}

/// Makes a request one for a further page. What the URL says of credentials is the connection's own, not the answer's.
pub fn apply_page_token(request: &mut Request, turn: &PageToken) {
    match turn {
        PageToken::Url(url) => request.url = url.clone(),
        PageToken::Query(name, value) => request.url = with_param(&request.url, name, value),
        // It stands in the request since that was written.
        PageToken::Count(_) => {}
        PageToken::Body(name, value) => {
            let bytes = request.body.as_ref().map(|body| body.bytes.expose().clone()).unwrap_or_default();
            let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if !document.is_object() {
                document = Value::Object(serde_json::Map::new());
            }
            document[name] = value.clone();
            let bytes = Secret::new(document.to_string().into_bytes());
            request.body = Some(Body { content_type: "application/json".to_owned(), bytes });
        }
    }
}
