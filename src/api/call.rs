//! Complete calls: an action with its parameters, or a path with all its pages.

use std::ops::ControlFlow;
use std::time::Duration;

use super::input::{Input, Parameters};
use super::pager::{PagePosition, Pager, apply_page_token};
use super::paging::{PagingError, WholePage, with_page_size};
use super::repeat_detector::{PageNovelty, hash_of};
use super::request::{ActionRequest, PathRequest, check_own_host};
use super::send::{ApiResponse, GrantToken, RetryLimits, SendError, is_success, send};
use super::{ApiError, check_allowed, find_action, refusal_error};
use crate::clock::random;
use crate::connector::{Action, ErrorClass, HttpMethod, Pagination, ParamKind};
use crate::error::Result;
use crate::http::{Request, Response};
use crate::model::{ConnectionName, ConsentPurpose, Effect, Grant};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{Session, Workspace};
use crate::{audit, consent, hex};

/// Tries of a call that may be repeated.
const MAX_ATTEMPTS: u32 = 4;

/// A longer wait than this is left to the user.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// An action to call, with its parameters.
pub struct ActionCall<'a> {
    pub connection: &'a ConnectionName,
    pub action: &'a str,
    pub input: &'a Input,
    /// The user's own idempotency key; a random one if absent.
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
    begin(workspace, &session, call.name, action.effect()).await.map_err(SendError::Build)?;
    let loaded =
        refresh::fresh_grant(workspace, order.connection, Freshness::Usable).await.map_err(SendError::Grant)?;
    let mut token = GrantToken::from(&loaded);
    let limits = retry_limits(&session, call.is_repeatable(), action.cost);
    let mut response = send(workspace, &session, &mut token, limits, |grant| call.request(grant)).await?;
    if response.error_class.is_none() && !is_success(&action.success, &response.response) {
        response.error_class = Some(ErrorClass::Fail);
    }
    let action = action.clone();
    Ok(CompletedCall { session, action, response })
}

/// Checks that the connection's user allows calls, and records the call before it is made.
async fn begin(workspace: &Workspace, session: &Session, what: &str, effect: Effect) -> Result<()> {
    consent::ensure(workspace, &session.connection, &ConsentPurpose::Call).await?;
    if let Some(audit) = workspace.audit_entry() {
        audit.set_detail(what);
    }
    audit::before_service_write(workspace, effect).await
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
    Ok(ActionRequest { session, name, action, input, idempotency_key, now: workspace.clock.now() })
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

fn retry_limits(session: &Session, is_idempotent: bool, cost: Option<u32>) -> RetryLimits {
    let cost = session.connector.rate.cost_of(cost);
    RetryLimits { max_attempts: MAX_ATTEMPTS, max_wait: MAX_WAIT, is_idempotent, cost }
}

fn key(given: Option<&str>) -> String {
    given.map_or_else(|| hex::encode(&random::<16>()), str::to_owned)
}

/// A path of the API that a user requested.
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
    let path = ask.request(&session, &key);
    let what = ask.begin(workspace, &session).await?;
    let call = ask.paged(workspace, &session, &what, path.is_repeatable());
    call.read_pages(|grant| path.request(grant), &mut sink).await
}

/// A page of a list that was requested alone.
#[derive(Debug)]
pub struct FetchedPage {
    pub response: Response,
    /// The error in the response, if the service rejected the request.
    pub refusal: Option<ApiError>,
    /// The page after it, if all are wanted and there is one.
    pub next: Option<PagePosition>,
}

/// Sends the request for one page, for a caller who asks for each.
///
/// # Errors
/// [`ApiError`], [`super::SendError`].
pub async fn fetch_page(workspace: &Workspace, ask: &PathCall<'_>, position: &PagePosition) -> Result<FetchedPage> {
    let session = workspace.session(refresh::load_grant(workspace, ask.connection).await?.connection).await?;
    let key = key(ask.idempotency_key);
    let path = ask.request(&session, &key);
    let what = ask.begin(workspace, &session).await?;
    let call = ask.paged(workspace, &session, &what, path.is_repeatable());
    let mut token = GrantToken::from(&refresh::fresh_grant(workspace, ask.connection, Freshness::Usable).await?);
    let request = |grant: &_| call.page_request(path.request(grant)?, position);
    let url = request(&token.grant)?.url;
    let answer = send(workspace, &session, &mut token, call.limits, request).await?;
    let refusal = answer.error_class.map(|class| refusal_error(&session, &what, class, &answer.response));
    let next = match (call.extent, &refusal) {
        (PageExtent::All, None) => {
            let page = WholePage::read(call.pages, &url, position, &answer.response);
            let page = page.map_err(|source| call.paging_error(source))?;
            page.next.map(|next| position.after(page.count, next))
        }
        _ => None,
    };
    Ok(FetchedPage { response: answer.response, refusal, next })
}

impl PathCall<'_> {
    fn request<'a>(&'a self, session: &'a Session, key: &'a str) -> PathRequest<'a> {
        PathRequest {
            session,
            method: self.method,
            path: self.path,
            query: self.query,
            headers: self.headers,
            body: self.body.clone(),
            idempotency_key: key,
        }
    }

    /// Records the request before it is sent, and returns what to call it in messages.
    async fn begin(&self, workspace: &Workspace, session: &Session) -> Result<String> {
        let what = format!("{} {}", self.method.as_str(), self.path);
        // A query may hold anything, secrets included.
        let path_alone = what.split(['?', '#']).next().unwrap_or_default();
        begin(workspace, session, path_alone, self.method.effect()).await?;
        Ok(what)
    }

    fn paged<'a>(
        &self,
        workspace: &'a Workspace,
        session: &'a Session,
        what: &'a str,
        is_repeatable: bool,
    ) -> PagedCall<'a> {
        let (size, extent) = match (self.paginate, self.method) {
            (true, HttpMethod::Get) => (PageSize::Usual, PageExtent::All),
            (true, _) => (PageSize::AsRequested, PageExtent::All),
            (false, _) => (PageSize::AsRequested, PageExtent::First),
        };
        let limits = retry_limits(session, is_repeatable, None);
        PagedCall { workspace, session, what, limits, pages: session.connector.api.pages.as_ref(), size, extent }
    }
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
    begin(workspace, &session, call.name, action.effect()).await?;
    let paged = PagedCall {
        workspace,
        session: &session,
        what: call.name,
        limits: retry_limits(&session, call.is_repeatable(), action.cost),
        pages: pages.or(session.connector.api.pages.as_ref()),
        size: if action.method == HttpMethod::Get { PageSize::Usual } else { PageSize::AsRequested },
        extent: PageExtent::All,
    };
    paged.read_pages(|grant| call.request(grant), sink).await
}

/// A request that may have further pages.
struct PagedCall<'a> {
    workspace: &'a Workspace,
    session: &'a Session,
    what: &'a str,
    limits: RetryLimits,
    pages: Option<&'a Pagination>,
    size: PageSize,
    extent: PageExtent,
}

/// How many records a page has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PageSize {
    /// As the request says, or the service chooses.
    AsRequested,
    /// As the connector says, unless the request does.
    Usual,
}

/// Which pages are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PageExtent {
    First,
    All,
}

impl PagedCall<'_> {
    async fn read_pages(
        &self,
        build: impl Fn(&Grant) -> Result<Request> + Send + Sync,
        sink: &mut impl PageSink,
    ) -> Result<()> {
        let connection = &self.session.connection.name;
        let mut token = GrantToken::from(&refresh::fresh_grant(self.workspace, connection, Freshness::Usable).await?);
        let (mut pager, mut position) = (Pager::default(), PagePosition::default());
        loop {
            let request = |grant: &_| self.page_request(build(grant)?, &position);
            let shown = request(&token.grant)?;
            let repeated = || {
                let at = crate::http::redact_url(&shown.url, &shown.secrets);
                ApiError::RepeatedPage { connection: connection.clone(), at }
            };
            let body = shown.body.as_ref().map(|body| body.bytes.expose().clone());
            if pager.ask(hash_of((shown.url.as_str(), body))) == PageNovelty::Endless {
                return Err(repeated().into());
            }
            let answer = send(self.workspace, self.session, &mut token, self.limits, request).await?;
            let flow = sink.page(&answer.response).await?;
            if let Some(class) = answer.error_class {
                return Err(refusal_error(self.session, self.what, class, &answer.response).into());
            }
            if flow.is_break() || self.extent == PageExtent::First {
                return Ok(());
            }
            let page = WholePage::read(self.pages, &shown.url, &position, &answer.response);
            let page = page.map_err(|source| self.paging_error(source))?;
            let novelty = pager.add(&page.record_hashes, page.next.as_ref());
            let Some(next) = page.next else { return Ok(()) };
            if novelty == PageNovelty::Endless {
                return Err(repeated().into());
            }
            position = position.after(page.count, next);
        }
    }

    fn paging_error(&self, source: PagingError) -> ApiError {
        let connection = self.session.connection.name.clone();
        ApiError::Paging { connection, what: self.what.to_owned(), source }
    }

    /// The request for the page at a position.
    fn page_request(&self, mut request: Request, position: &PagePosition) -> Result<Request> {
        if let Some(pages) = self.pages.filter(|_| self.size == PageSize::Usual) {
            request.url = with_page_size(pages, &request.url);
        }
        if let Some(page_token) = &position.page_token {
            apply_page_token(&mut request, page_token);
            check_own_host(self.session, &request)?;
        }
        Ok(request)
    }
}
