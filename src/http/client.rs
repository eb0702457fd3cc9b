//! The HTTP client: rustls, no automatic redirects, size limits, no secrets in logs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::egress::{EgressGuard, EgressRefusal, SystemResolver};
use super::{Challenge, ClientIdentity, HttpError, Route, redact_body, redact_header, redact_url, transport_error};
use crate::clock::{RunningLimit, Stopwatch, Timestamp};
use crate::config::AllowedAddress;
use crate::connector::Pointer;
use crate::json::{self, Json, JsonError};
use crate::secret::Secret;

/// The largest answer that is read, unless the request or the client says otherwise; a decompressed one counts in full.
const MAX_RESPONSE_BYTES: usize = 10 * 1024 * 1024;

/// Clients of one process that present a certificate.
const MAX_IDENTITIES: usize = 64;

/// Redirects followed for a request that allows any.
const MAX_REDIRECTS: usize = 5;

/// Until a connection is made; less where the whole request has less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const USER_AGENT: &str = concat!("integ/", env!("CARGO_PKG_VERSION"));

/// Makes its connections when they are first needed: reading the system's certificates takes longer than a command that
/// asks nobody.
#[derive(Debug)]
pub struct Client {
    timeout: Duration,
    /// How much of an answer is kept, and how much is read; one that is larger is an error.
    max_retained: usize,
    max_read: usize,
    /// Where it may go; the URLs of a connector may go anywhere.
    guard: Option<EgressGuard>,
    tls: OnceLock<reqwest::Client>,
    plain: OnceLock<reqwest::Client>,
    /// For hosts that a connector or an answer names: their addresses are checked before a connection is made.
    checked: OnceLock<reqwest::Client>,
    /// Those that show a certificate, by its digest and by whether addresses are checked. A connection is never shared
    /// between two certificates.
    with_identity: Mutex<HashMap<([u8; 32], bool), reqwest::Client>>,
}

/// One outgoing request, before it is routed.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub url: Url,
    pub headers: Vec<(String, Secret)>,
    pub body: Option<Body>,
    /// Follows redirects that stay on the host. Never for requests that carry a grant.
    pub follows_redirects: bool,
    /// What must not be shown of the URL.
    pub secrets: Vec<Secret>,
    /// Whether a trace may show the body of the answer. Never for one that grants tokens.
    pub traces_response: bool,
    /// Bytes that the answer may have; `usize::MAX` for as many as the client reads.
    pub max_response_bytes: usize,
    /// The certificate that the connection shows, where the service asks for one.
    pub identity: Option<Arc<ClientIdentity>>,
    /// For an answer of server-sent events, which need not end by itself: whether what was read is all that is waited for.
    pub is_complete: Option<fn(&[u8]) -> bool>,
}

/// The body of a request; debug output hides its bytes.
#[derive(Clone, Debug)]
pub struct Body {
    /// Empty where the body is sent without one.
    pub content_type: String,
    pub bytes: Secret<Vec<u8>>,
}

/// An answer, whatever its status.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Creates a request without headers or a body, which follows no redirects and takes answers of up to 10 MiB.
    pub fn new(method: &'static str, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: None,
            follows_redirects: false,
            secrets: Vec::new(),
            traces_response: false,
            max_response_bytes: MAX_RESPONSE_BYTES,
            identity: None,
            is_complete: None,
        }
    }

    /// Adds a header, even if there is one of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: Secret) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// Sets a header in place of one of the same name.
    pub fn set_header(&mut self, name: &str, value: Secret) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value));
    }

    /// Sets the body; an empty content type sends no `Content-Type` header.
    #[must_use]
    pub fn body(mut self, content_type: &str, bytes: Vec<u8>) -> Self {
        self.body = Some(Body { content_type: content_type.to_owned(), bytes: Secret::new(bytes) });
        self
    }
}

/// The value of an `Authorization` header for HTTP Basic (RFC 7617).
pub fn basic(username: &str, password: &str) -> Secret {
    use base64::Engine;
    let pair = Secret::new(format!("{username}:{password}"));
    Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair.expose())))
}

impl Client {
    /// `timeout` is for one request, from the connection to the last byte, and counts only while the process runs: an
    /// answer that arrives while it is stopped is read when it goes on.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            max_retained: usize::MAX,
            max_read: MAX_RESPONSE_BYTES,
            guard: None,
            tls: OnceLock::new(),
            plain: OnceLock::new(),
            checked: OnceLock::new(),
            with_identity: Mutex::default(),
        }
    }

    /// For URLs that a user gave: nothing is sent but where the guard lets it, and proxies are not asked.
    pub fn guarded(timeout: Duration, guard: EgressGuard) -> Self {
        Self { guard: Some(guard), ..Self::new(timeout) }
    }

    /// Reads answers of up to so many bytes, where the request takes them.
    #[must_use]
    pub fn with_max_read(self, most_read: usize) -> Self {
        Self { max_read: most_read, ..self }
    }

    /// For answers of which the status says all: no more than `kept` bytes of one are held, however much is read.
    #[must_use]
    pub fn with_max_retained(self, kept: usize, most_read: usize) -> Self {
        Self { max_retained: kept, max_read: most_read, ..self }
    }

    /// Sends a request where the route says.
    ///
    /// # Errors
    /// [`HttpError`] where no complete answer came; an answer of any status is none.
    pub async fn send(&self, mut request: Request, route: &Route) -> Result<Response, HttpError> {
        for _ in 0..=MAX_REDIRECTS {
            let url = route.resolve(&request.url)?;
            let response = self.send_once(&request, url, route.is_checked(&request.url)).await?;
            let target = response
                .header("location")
                .filter(|_| request.follows_redirects && (300..400).contains(&response.status));
            match target.and_then(|target| request.url.join(target).ok()) {
                // Only to the same host, and only as a plain repetition: credentials never travel on.
                Some(next) if next.origin() == request.url.origin() && request.method == "GET" => request.url = next,
                _ => return Ok(response),
            }
        }
        let host = request.url.host_str().unwrap_or_default().to_owned();
        Err(HttpError::InvalidRequest { host, source: format!("more than {MAX_REDIRECTS} redirects").into() })
    }

    async fn send_once(&self, request: &Request, url: Url, checked: bool) -> Result<Response, HttpError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let origin = url.origin().ascii_serialization();
        let shown = redact_url(&url, &request.secrets);
        let stopwatch = Stopwatch::start();
        // Not the client's own timeout, which looks at its timer before it looks for an answer.
        let mut limit = RunningLimit::new(self.timeout);
        let mut answer = self.begin(request, url, checked, &mut limit).await?;
        let too_late = || HttpError::Timeout { host: host.clone(), after: self.timeout };
        let failed =
            |error: reqwest::Error| transport_error::explain(&error.without_url(), host.clone(), origin.clone());
        // What it says of its length is a hint, and not trusted beyond what is kept.
        let said = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        let mut body = Vec::with_capacity(said.min(self.max_retained).min(1 << 20));
        let mut read = 0;
        let is_complete = request.is_complete.filter(|_| is_event_stream(&answer));
        while let Some(chunk) = limit.wait(answer.chunk()).await.ok_or_else(too_late)?.map_err(failed)? {
            read += chunk.len();
            let most = request.max_response_bytes.min(self.max_read);
            if read > most {
                let setting = most == self.max_read && self.max_retained == usize::MAX;
                return Err(HttpError::TooLarge { host: host.clone(), limit: most, is_configurable: setting });
            }
            body.extend_from_slice(&chunk[..chunk.len().min(self.max_retained - body.len())]);
            if is_complete.is_some_and(|is_complete| is_complete(&body)) {
                break;
            }
        }
        let response = Response { status: answer.status().as_u16(), headers: headers_of(&answer), body };
        let duration_ms = u64::try_from(stopwatch.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status, url = shown, duration_ms, size_bytes = response.body.len(), "answer");
        if request.traces_response && !response.body.is_empty() && tracing::enabled!(tracing::Level::TRACE) {
            let kind = response.header("content-type").unwrap_or_default();
            tracing::trace!(body = redact_body(kind, &response.body, &request.secrets), "response body");
        }
        Ok(response)
    }

    /// Sends a request, and returns when the head of its answer has arrived.
    pub(super) async fn begin(
        &self,
        request: &Request,
        url: Url,
        checked: bool,
        limit: &mut RunningLimit,
    ) -> Result<reqwest::Response, HttpError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let origin = url.origin().ascii_serialization();
        let shown = redact_url(&url, &request.secrets);
        let longest = limit.remaining();
        if let Some(guard) = &self.guard {
            guard.check(&url)?;
        }
        let unwritable =
            |source: Box<dyn std::error::Error + Send + Sync>| HttpError::InvalidRequest { host: host.clone(), source };
        let method =
            reqwest::Method::from_bytes(request.method.as_bytes()).map_err(|error| unwritable(error.into()))?;
        let mut builder = self.for_request(request, &url, checked)?.request(method, url);
        for (name, value) in &request.headers {
            let mut header =
                reqwest::header::HeaderValue::from_str(value.expose()).map_err(|error| unwritable(error.into()))?;
            header.set_sensitive(true);
            builder = builder.header(name.as_str(), header);
        }
        if let Some(body) = &request.body {
            if !body.content_type.is_empty() {
                builder = builder.header("content-type", &body.content_type);
            }
            builder = builder.body(body.bytes.expose().clone());
        }
        log_request(request, &shown);
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            tracing::debug!(url = shown, error = %error, "no answer");
            if let Some(refusal) = refusal(&error) {
                if checked { HttpError::SpecialAddress(refusal) } else { HttpError::EgressRefused(refusal) }
            } else if error.is_builder() {
                unwritable(error.into())
            } else {
                transport_error::explain(&error, host.clone(), origin.clone())
            }
        };
        let too_late = || HttpError::Timeout { host: host.clone(), after: longest };
        loop {
            let again = builder.try_clone();
            let before = limit.remaining();
            match (limit.wait(builder.send()).await.ok_or_else(too_late)?, again) {
                // The connection's own timer ran while the process was stopped; nothing was sent yet.
                (Err(error), Some(again))
                    if error.is_connect()
                        && error.is_timeout()
                        && before.saturating_sub(limit.remaining()) < CONNECT_TIMEOUT / 2 =>
                {
                    builder = again;
                }
                (sent, _) => return sent.map_err(failed),
            }
        }
    }

    fn for_request(&self, request: &Request, url: &Url, checked: bool) -> Result<reqwest::Client, HttpError> {
        match request.identity.as_deref().filter(|_| url.scheme() == "https") {
            Some(identity) => self.for_identity(identity, checked),
            None => self.for_url(url, checked).cloned(),
        }
    }

    fn for_url(&self, url: &Url, checked: bool) -> Result<&reqwest::Client, HttpError> {
        if checked {
            if let Some(client) = self.checked.get() {
                return Ok(client);
            }
            let made =
                build(true, &Resolver::Checked(proxies()), None).map_err(|source| HttpError::Client { source })?;
            return Ok(self.checked.get_or_init(|| made));
        }
        let (cell, tls) = if url.scheme() == "https" { (&self.tls, true) } else { (&self.plain, false) };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let made = build(tls, &self.resolver(), None).map_err(|source| HttpError::Client { source })?;
        Ok(cell.get_or_init(|| made))
    }

    fn resolver(&self) -> Resolver<'_> {
        self.guard.as_ref().map_or(Resolver::System, Resolver::Guarded)
    }

    /// The client that presents a certificate.
    fn for_identity(&self, identity: &ClientIdentity, checked: bool) -> Result<reqwest::Client, HttpError> {
        let key = (identity.digest, checked);
        let clients = || self.with_identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients().get(&key) {
            return Ok(client.clone());
        }
        let resolver = if checked { Resolver::Checked(proxies()) } else { self.resolver() };
        let made = build(true, &resolver, Some(&identity.identity)).map_err(|source| HttpError::Client { source })?;
        let mut clients = clients();
        // A process has a few; one that replaced its certificates again and again must not hold all of them.
        if clients.len() >= MAX_IDENTITIES {
            clients.clear();
        }
        Ok(clients.entry(key).or_insert(made).clone())
    }
}

/// Logs a request, its headers and its body, without secrets.
fn log_request(request: &Request, url: &str) {
    tracing::debug!(method = request.method, url, "request");
    for (name, value) in &request.headers {
        tracing::trace!(name, value = redact_header(name, value, &request.secrets), "request header");
    }
    if let Some(body) = request.body.as_ref().filter(|_| tracing::enabled!(tracing::Level::TRACE)) {
        let shown = redact_body(&body.content_type, body.bytes.expose(), &request.secrets);
        tracing::trace!(body = shown, "request body");
    }
}

pub(super) fn headers_of(answer: &reqwest::Response) -> Vec<(String, String)> {
    let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn is_event_stream(answer: &reqwest::Response) -> bool {
    let kind = answer.headers().get("content-type").map(|kind| kind.as_bytes().to_ascii_lowercase());
    kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"))
}

/// What the guard said, where it is why there is no connection.
fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<EgressRefusal> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref().cloned())
}

/// Who resolves names, and what an answer may be.
enum Resolver<'g> {
    System,
    /// A guard, and no proxy.
    Guarded(&'g EgressGuard),
    /// A guard that also admits the names of these proxies.
    Checked(Vec<AllowedAddress>),
}

/// The hosts of the environment's proxies. Behind a proxy it is the proxy that resolves a vendor's name, so that only
/// literal addresses are checked here; the proxy's own name may well be one of this machine.
fn proxies() -> Vec<AllowedAddress> {
    let host = |text: String| {
        let text = if text.contains("://") { text } else { format!("http://{text}") };
        Url::parse(&text).ok()?.host_str()?.parse().ok()
    };
    let named = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().filter_map(crate::env::var_named);
    named.filter_map(host).collect()
}

fn build(tls: bool, resolver: &Resolver<'_>, identity: Option<&reqwest::Identity>) -> reqwest::Result<reqwest::Client> {
    // Installing twice fails and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = match identity {
            Some(identity) => reqwest::Client::builder().identity(identity.clone()),
            None => reqwest::Client::builder(),
        };
        let builder = builder
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(8);
        match resolver {
            Resolver::System => builder.dns_resolver(std::sync::Arc::new(SystemResolver)),
            // A proxy would resolve the name by itself.
            Resolver::Guarded(guard) => builder.no_proxy().dns_resolver(std::sync::Arc::new((*guard).clone())),
            Resolver::Checked(proxies) => builder.dns_resolver(std::sync::Arc::new(EgressGuard::new(proxies))),
        }
    };
    if !tls {
        // Plain http is only ever for this machine, which no proxy stands before, and no certificate is read for it.
        return builder().no_proxy().tls_certs_only([]).build();
    }
    // A container without a certificate store: the roots that browsers trust, compiled in.
    builder().build().or_else(|_| {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let roots = roots.filter_map(|root| reqwest::Certificate::from_der(root).ok());
        builder().tls_certs_only(roots).build()
    })
}

impl Response {
    /// Creates a response with the headers' names in lower case.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        Self { status, headers, body: body.to_vec() }
    }

    /// A response of which the body is still to be read.
    pub(super) fn head(status: u16, headers: Vec<(String, String)>) -> Self {
        Self { status, headers, body: Vec::new() }
    }

    /// The first header of this name, which may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The server's own time, to the second (RFC 9110 section 6.6.1).
    pub fn date(&self) -> Option<Timestamp> {
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(self.header("date")?.trim()).ok()
    }

    /// The challenges of all `WWW-Authenticate` headers (RFC 9110 section 11.6.1).
    pub fn challenges(&self) -> Vec<Challenge> {
        let headers = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
        headers.flat_map(|(_, value)| Challenge::parse_all(value)).collect()
    }

    /// The bearer challenge (RFC 6750 section 3).
    pub fn bearer_challenge(&self) -> Option<Challenge> {
        self.challenges().into_iter().find(|challenge| challenge.is_scheme("bearer"))
    }

    /// All headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What the vendor says went wrong, in its words: at the first of these places that holds a text, else at the usual
    /// ones, else the beginning of a body that is plain text.
    pub fn error_message(&self, places: &[Pointer]) -> Option<String> {
        const LONGEST: usize = 200;
        let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
        let text = self.text().ok()?;
        let Ok(document) = Json::validate(&text) else {
            let text = text.trim();
            return (!text.is_empty() && !text.starts_with('<')).then(|| cut(text));
        };
        let usual = [&["error_description"][..], &["error", "message"], &["message"], &["description"], &["error"]];
        let text = |names: &[&str]| names.iter().try_fold(document, |at, name| at.get(name))?.string();
        let own = places.iter().find_map(|place| place.text_in(document));
        own.or_else(|| usual.iter().find_map(|names| text(names).map(Cow::into_owned))).map(|said| cut(&said))
    }

    /// The body as text, by its byte-order mark, its declared charset or its shape.
    ///
    /// # Errors
    /// [`JsonError::UnknownCharset`].
    pub fn text(&self) -> Result<Cow<'_, str>, JsonError> {
        json::decode(&self.body, self.header("content-type").and_then(json::charset))
    }

    /// The body as JSON, where it is. A body that may be large is better looked at as [`text`](Self::text), without a tree.
    pub fn json(&self) -> Option<Value> {
        json::parse(&self.text().ok()?).ok()
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Bodies and headers may hold tokens: only the status and the size are shown.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}
