//! A relay between a client that speaks MCP over lines of JSON and a remote server that speaks it over streamable HTTP.
//!
//! Messages travel as they are. Each message of the client is a `POST` of its own, all at once (`exchange`); what the server
//! sends by itself comes on a `GET` stream (`listener`). `upstream` gives every request a token that is good, and `session`
//! knows what it takes to begin a lost session again. A request is answered exactly once: by the server, or with an error
//! that says why not.
//!
//! Nothing here is dropped half-way: a refresh that has begun runs to its end, because its grant would be lost otherwise. What
//! waits for the network ends by a `StopSignal`.

mod envelope;
mod exchange;
mod failure;
mod listener;
mod reader;
mod request_headers;
mod session;
mod stop_signal;
mod tool_filter;
mod upstream;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

pub use tool_filter::ToolFilter;

use self::envelope::{Envelope, EnvelopeError, MessageKind, RequestId, messages};
use self::failure::RpcFailure;
use self::request_headers::ParamHeader;
use self::session::{SessionHeaders, SessionState};
use self::stop_signal::StopSignal;
use self::upstream::Upstream;
use crate::connector::HealthProtocol;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::model::ConnectionName;
use crate::runtime::Workspace;

/// The largest message that is relayed, in either direction, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Requests that may wait for their answers at once.
const MAX_PENDING: usize = 256;

/// Bytes of incomplete events and answers that may be in memory at once.
const MAX_BUFFERED_BYTES: usize = 64 << 20;

/// How long answers are waited for once the client has closed its end: a script that pipes its requests wants them.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What to relay.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    pub connection: ConnectionName,
    pub tools: ToolFilter,
    /// How long a request waits for a server that cannot be reached.
    pub reconnect_timeout: Duration,
}

/// A line of the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientLine {
    Text(Vec<u8>),
    /// A line of more than [`MAX_MESSAGE_BYTES`], which was skipped.
    TooLong,
}

/// The client: what it sends, and where lines for it go, without their line breaks.
#[derive(Debug)]
pub struct ClientChannel {
    pub lines: mpsc::Receiver<ClientLine>,
    pub output: mpsc::Sender<String>,
}

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyEnd {
    /// The client closed one of its ends.
    ClientClosed,
    Stopped,
}

/// Why a connection cannot be relayed.
#[derive(Debug, Error)]
pub enum ProxyError {
    #[error("{connection} is not an MCP server")]
    NotMcp { connection: ConnectionName },
}

impl Remedy for ProxyError {
    fn diagnostic(&self) -> Diagnostic {
        let Self::NotMcp { connection } = self;
        Diagnostic::new(Kind::Usage, "not_mcp")
            .hint(Hint::new("connect one by its URL:", "integ connect https://mcp.example.com/mcp"))
            .connection(connection)
    }
}

type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A request of the client's that was not answered yet.
#[derive(Debug)]
struct PendingRequest {
    stop: Arc<StopSignal>,
    method: String,
    is_stateless: bool,
}

/// The handshakes under way, for which other messages wait.
#[derive(Clone, Copy, Debug, Default)]
struct Handshakes {
    initializing: u32,
    confirming: u32,
}

/// One client and one server.
struct Relay<'a> {
    options: &'a ProxyOptions,
    upstream: Upstream<'a>,
    output: mpsc::Sender<String>,
    pending: Mutex<HashMap<RequestId, PendingRequest>>,
    session: Mutex<SessionState>,
    /// Held while a lost session is begun again.
    renewal: tokio::sync::Mutex<()>,
    handshakes: watch::Sender<Handshakes>,
    /// The number of the session that the client has confirmed.
    confirmed: watch::Sender<Option<u64>>,
    /// The arguments that travel in headers, by the tool's name.
    param_headers: Mutex<HashMap<String, Vec<ParamHeader>>>,
    /// Bytes that are buffered, of all answers.
    buffered: AtomicUsize,
    /// Messages of the client's that are being sent.
    sending: AtomicUsize,
    /// The last trouble that was written to the log, so that it is written once.
    reported: Mutex<Option<String>>,
    closing: StopSignal,
}

/// Checks that a connection can be relayed.
///
/// # Errors
/// Unknown connections, and [`ProxyError`].
pub async fn check(workspace: &Workspace, connection: &ConnectionName) -> Result<()> {
    let found = workspace.connection(connection).await?;
    let connector = workspace.catalogue().get(found.name.connector())?;
    let (_, auth) = connector.auth_method(Some(&found.auth))?;
    let is_mcp = connector.health(auth).is_some_and(|health| health.protocol == HealthProtocol::Mcp);
    if is_mcp { Ok(()) } else { Err(ProxyError::NotMcp { connection: connection.clone() }.into()) }
}

/// Relays messages until the client closes one of its ends or `stopped` resolves, then ends the session. Must be awaited to its
/// end.
///
/// # Errors
/// Those of [`check`]. What goes wrong later is answered to the client.
pub async fn run(
    workspace: &Workspace,
    options: &ProxyOptions,
    client: ClientChannel,
    stopped: impl Future<Output = ()>,
) -> Result<ProxyEnd> {
    check(workspace, &options.connection).await?;
    let relay = Relay::new(workspace, options, client.output);
    let end = relay.serve(client.lines, stopped).await;
    relay.end_session().await;
    Ok(end)
}

impl<'a> Relay<'a> {
    fn new(workspace: &'a Workspace, options: &'a ProxyOptions, output: mpsc::Sender<String>) -> Self {
        Self {
            options,
            upstream: Upstream { workspace, connection: &options.connection },
            output,
            pending: Mutex::default(),
            session: Mutex::default(),
            renewal: tokio::sync::Mutex::default(),
            handshakes: watch::Sender::default(),
            confirmed: watch::Sender::default(),
            param_headers: Mutex::default(),
            buffered: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            reported: Mutex::default(),
            closing: StopSignal::default(),
        }
    }

    async fn serve(&self, mut lines: mpsc::Receiver<ClientLine>, stopped: impl Future<Output = ()>) -> ProxyEnd {
        let mut work: FuturesUnordered<Work<'_>> = FuturesUnordered::new();
        work.push(Box::pin(self.listen()));
        let mut stopped = std::pin::pin!(stopped);
        let mut drained = std::pin::pin!(tokio::time::sleep(Duration::MAX));
        let mut is_open = true;
        let end = loop {
            if !is_open && self.sending.load(Ordering::Relaxed) == 0 {
                break ProxyEnd::ClientClosed;
            }
            tokio::select! {
                () = &mut stopped => break ProxyEnd::Stopped,
                () = self.output.closed() => break ProxyEnd::ClientClosed,
                () = &mut drained, if !is_open => break ProxyEnd::ClientClosed,
                Some(()) = work.next() => {}
                line = lines.recv(), if is_open => match line {
                    Some(line) => work.extend(self.accept(&line)),
                    None => {
                        is_open = false;
                        drained.set(tokio::time::sleep(DRAIN_TIMEOUT));
                    }
                },
            }
        };
        self.closing.stop();
        lock(&self.pending).values().for_each(|pending| pending.stop.stop());
        while work.next().await.is_some() {}
        end
    }

    /// Takes a line of the client's, and returns what is to be done about it.
    fn accept(&self, line: &ClientLine) -> Vec<Work<'_>> {
        let refuse = |failure: RpcFailure| vec![self.write(failure.response("null"))];
        let ClientLine::Text(bytes) = line else {
            let limit = crate::size::format(MAX_MESSAGE_BYTES);
            return refuse(RpcFailure::invalid_request(&format!("a message may have up to {limit}")));
        };
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if text.trim().is_empty() => return Vec::new(),
            Ok(text) => text,
            Err(error) => return refuse(RpcFailure::malformed(&EnvelopeError::Syntax(error.to_string()))),
        };
        match messages(text) {
            Err(error) => refuse(RpcFailure::malformed(&error)),
            Ok(read) => read
                .into_iter()
                .filter_map(|message| match message {
                    Ok(message) => self.accept_message(message),
                    Err(error) => Some(self.write(RpcFailure::malformed(&error).response("null"))),
                })
                .collect(),
        }
    }

    fn accept_message(&self, message: Envelope) -> Option<Work<'_>> {
        if let (MessageKind::Request, Some(id)) = (message.kind, message.id.clone()) {
            return Some(match self.admit(&message, &id) {
                Ok(stop) => Box::pin(self.run_request(message, id, stop)),
                Err(failure) => self.write(failure.response(&id.json)),
            });
        }
        if message.is_notification("notifications/cancelled")
            && let Some(id) = &message.cancelled
        {
            let cancelled = lock(&self.pending).remove(id);
            if let Some(request) = &cancelled {
                request.stop.stop();
            }
            // Without sessions, the end of the answer's stream is what cancels it.
            let is_stateless = cancelled.map_or_else(|| lock(&self.session).epoch == 0, |request| request.is_stateless);
            if is_stateless {
                return None;
            }
        }
        Some(self.run_notification(message))
    }

    /// Notes a request of the client's, or refuses it.
    fn admit(&self, message: &Envelope, id: &RequestId) -> Result<Arc<StopSignal>, RpcFailure> {
        if message.method == "tools/call" && !self.options.tools.is_empty() {
            let name = message.target.as_deref();
            if !name.is_some_and(|name| self.options.tools.allows(name)) {
                return Err(RpcFailure::tool_not_allowed(name));
            }
        }
        let mut pending = lock(&self.pending);
        if pending.contains_key(id) {
            return Err(RpcFailure::invalid_request("a request of this id is not answered yet"));
        }
        if pending.len() >= MAX_PENDING {
            return Err(RpcFailure::new(
                "too_many_requests",
                format!("{MAX_PENDING} requests wait for answers already"),
            ));
        }
        let stop = Arc::new(StopSignal::default());
        let (method, is_stateless) = (message.method.clone(), message.is_stateless());
        pending.insert(id.clone(), PendingRequest { stop: Arc::clone(&stop), method, is_stateless });
        Ok(stop)
    }

    fn write(&self, line: String) -> Work<'_> {
        Box::pin(self.send(line))
    }

    /// Writes a line for the client. One that no longer reads ends the relay.
    async fn send(&self, line: String) {
        let _ = self.closing.race(self.output.send(line)).await;
    }

    /// Answers a request with an error, unless it was answered or cancelled.
    async fn fail(&self, id: &RequestId, failure: &RpcFailure) {
        if lock(&self.pending).remove(id).is_some() {
            self.send(failure.response(&id.json)).await;
        }
    }

    /// The failure of an error of integ's. What only a person can put right is written to the log as well, once.
    fn failure_of(&self, error: &Error) -> RpcFailure {
        let failure = RpcFailure::from_error(error, &self.upstream.workspace.name);
        if error.kind() == Kind::AuthNeeded {
            self.report(failure.message());
        }
        failure
    }

    fn report(&self, trouble: &str) {
        let mut reported = lock(&self.reported);
        if reported.as_deref() != Some(trouble) {
            tracing::warn!("{trouble}");
            *reported = Some(trouble.to_owned());
        }
    }

    /// Ends the session at the server, which may refuse it.
    async fn end_session(&self) {
        let (_, headers) = self.session_headers();
        if headers.id.is_some() {
            self.upstream.end_session(&headers).await;
        }
    }

    fn session_headers(&self) -> (u64, SessionHeaders) {
        let session = lock(&self.session);
        (session.epoch, session.headers.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
