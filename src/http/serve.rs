//! A small HTTP/1.1 server for this machine: the OAuth callback and the sandbox stand on it.
//!
//! Every size and time is bounded, because any program of this machine can connect: a request's head is at most 16 KiB
//! (longer ones get 431 or 414), its body at most 1 MiB unless a gate allows more, a head must come within ten seconds, and
//! beyond 256 open connections the oldest is dropped, so that slow ones never keep out the one that matters. Large bodies
//! share a budget, and those of over 1 MiB another: beyond it they wait in the network. The listener closes when the
//! [`Server`] is dropped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
pub use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::peer::SocketPair;

const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The largest body where no gate allows more.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;

/// What a body may take of memory without asking, and what all that are larger share, in KiB.
const SMALL_BODY: usize = 64 * 1024;
const LARGE_BODIES_KIB: usize = 12 * 1024;

/// Bytes of a body that must come in a second, after the first ten seconds.
const MIN_BODY_BYTES_PER_SEC: u64 = 256 * 1024;

/// A response with its whole body in memory.
pub type FullResponse = Response<Full<Bytes>>;

/// A running server; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    closing: watch::Sender<bool>,
    /// Ends when no connection is open any more.
    open: mpsc::Receiver<Infallible>,
}

impl Server {
    /// Serves on the listeners, of which there is at least one, with a handler that gets the request with its whole body,
    /// and [`SocketPair`] among its extensions.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn start<H, F>(listeners: Vec<std::net::TcpListener>, handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = FullResponse> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let handle = move |request: Request<Result<Bytes, BodyReadError>>| {
            let handler = Arc::clone(&handler);
            async move {
                let (head, body) = request.into_parts();
                match body {
                    Ok(body) => handler(Request::from_parts(head, body)).await,
                    Err(unread) => unread.answer(),
                }
            }
        };
        Self::start_with_gate(listeners, MAX_BODY_BYTES, |_| std::future::ready(Ok(MAX_BODY_BYTES)), handle)
    }

    /// Serves with a gate that sees each request before its body is read. It says how large the body may be, never more than
    /// `most`, or answers the request: the body is then thrown away as it arrives. The handler gets the request also if its
    /// body was not read.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn start_with_gate<G, GF, H, F>(
        listeners: Vec<std::net::TcpListener>,
        most: usize,
        gate: G,
        handler: H,
    ) -> io::Result<Self>
    where
        G: Fn(&Parts) -> GF + Send + Sync + 'static,
        GF: Future<Output = Result<usize, FullResponse>> + Send + 'static,
        H: Fn(Request<Result<Bytes, BodyReadError>>) -> F + Send + Sync + 'static,
        F: Future<Output = FullResponse> + Send + 'static,
    {
        let address = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?;
        let ready = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = listeners.into_iter().map(ready).collect::<io::Result<Vec<_>>>()?;
        let (closing, closed) = watch::channel(false);
        let (busy, open) = mpsc::channel(1);
        let large = Arc::new(Semaphore::new(LARGE_BODIES_KIB));
        let huge = Arc::new(Semaphore::new(most.div_ceil(1024).min(Semaphore::MAX_PERMITS)));
        let task = tokio::spawn(accept(listeners, Arc::new(Service { gate, handler, large, huge }), closed, busy));
        Ok(Self { address, task, closing, open })
    }

    /// Closes the port at once, and every connection as soon as what was asked on it is answered, or after `limit`.
    pub async fn finish(mut self, limit: Duration) {
        let _ = self.closing.send(true);
        let _ = tokio::time::timeout(limit, self.open.recv()).await;
    }

    /// The address of the first listener; the others have the same port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Aborts the connection's task when the server goes.
struct ConnectionTask(AbortHandle);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The next connection at any of the listeners.
async fn next(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketPair)> {
    let accepting = listeners.iter().map(|listener| Box::pin(listener.accept()));
    let (stream, remote) = select_all(accepting).await.0?;
    let local = stream.local_addr()?;
    Ok((stream, SocketPair { local, remote }))
}

/// What answers requests.
struct Service<G, H> {
    gate: G,
    handler: H,
    /// KiB of large bodies that may still be read, and of those larger than [`MAX_BODY_BYTES`]: one of the largest at a time.
    large: Arc<Semaphore>,
    huge: Arc<Semaphore>,
}

async fn accept<G, GF, H, F>(
    listeners: Vec<TcpListener>,
    service: Arc<Service<G, H>>,
    mut closing: watch::Receiver<bool>,
    busy: mpsc::Sender<Infallible>,
) where
    G: Fn(&Parts) -> GF + Send + Sync + 'static,
    GF: Future<Output = Result<usize, FullResponse>> + Send + 'static,
    H: Fn(Request<Result<Bytes, BodyReadError>>) -> F + Send + Sync + 'static,
    F: Future<Output = FullResponse> + Send + 'static,
{
    let mut open: VecDeque<ConnectionTask> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = next(&listeners) => accepted,
            _ = closing.changed() => break,
        };
        let Ok((stream, ends)) = accepted else {
            // Out of file descriptors, mostly: those of dropped connections come back in a moment.
            open.pop_front();
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        open.retain(|connection| !connection.0.is_finished());
        if open.len() >= MAX_CONNECTIONS {
            open.pop_front();
        }
        let service = Arc::clone(&service);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ends);
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let (mut closing, busy) = (closing.clone(), busy.clone());
        let task = tokio::spawn(async move {
            let _busy = busy;
            let mut connection = std::pin::pin!(connection);
            // What goes wrong on one connection is the peer's affair.
            tokio::select! {
                _ = &mut connection => return,
                _ = closing.changed() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
        open.push_back(ConnectionTask(task.abort_handle()));
    }
    drop((listeners, busy));
    // Dropping the connections would cut off what they are still answering: they stay until the server goes.
    std::future::pending::<()>().await;
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyReadError {
    /// It is larger than this many bytes.
    TooLarge(usize),
    TooSlow,
    Overloaded,
}

impl BodyReadError {
    /// The usual answer.
    pub fn answer(self) -> FullResponse {
        match self {
            Self::TooLarge(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
            Self::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "The request took too long."),
            Self::Overloaded => {
                let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "Too many large requests at once.");
                answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
                answer
            }
        }
    }
}

impl<G, GF, H, F> Service<G, H>
where
    G: Fn(&Parts) -> GF,
    GF: Future<Output = Result<usize, FullResponse>>,
    H: Fn(Request<Result<Bytes, BodyReadError>>) -> F,
    F: Future<Output = FullResponse>,
{
    async fn answer(&self, request: Request<Incoming>) -> FullResponse {
        let (head, body) = request.into_parts();
        let most = match (self.gate)(&head).await {
            Ok(most) => most,
            Err(answer) => {
                // Read to its end, or the peer would lose the answer with the connection.
                if body.size_hint().lower() <= MAX_BODY_BYTES as u64 {
                    let _ = tokio::time::timeout(HEAD_TIMEOUT, discard(body)).await;
                }
                return answer;
            }
        };
        // One that says how long it is need not be read to be refused.
        if body.size_hint().lower() > most as u64 {
            return (self.handler)(Request::from_parts(head, Err(BodyReadError::TooLarge(most)))).await;
        }
        match self.read(body, most).await {
            // What it took of the budget is given back once it is answered.
            Ok((body, _taken)) => (self.handler)(Request::from_parts(head, Ok(body))).await,
            Err(unread) => (self.handler)(Request::from_parts(head, Err(unread))).await,
        }
    }

    async fn read(&self, mut body: Incoming, most: usize) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), BodyReadError> {
        let mut begun = tokio::time::Instant::now();
        let (mut bytes, mut taken, mut allowed) = (Vec::new(), Vec::new(), SMALL_BODY.min(most));
        loop {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let deadline =
                begun + HEAD_TIMEOUT + Duration::from_millis(length.saturating_mul(1000) / MIN_BODY_BYTES_PER_SEC);
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(BodyReadError::TooSlow),
                Ok(None) => return Ok((Bytes::from(bytes), taken)),
                // What goes wrong on one connection is the peer's affair.
                Ok(Some(Err(_))) => return Err(BodyReadError::TooSlow),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let needed = bytes.len() + data.len();
            if needed > most {
                return Err(BodyReadError::TooLarge(most));
            }
            if needed > allowed {
                // All that it says it will be, so that no two wait for each other's rest. One that does not say it takes the
                // budgets one after the other, and none of those of the second waits for the first.
                let step = if needed > MAX_BODY_BYTES { most } else { MAX_BODY_BYTES.min(most) };
                let rest = body.size_hint().upper();
                let whole = rest.map_or(step, |rest| needed + usize::try_from(rest).unwrap_or(0)).clamp(needed, most);
                let budget = if whole > MAX_BODY_BYTES { &self.huge } else { &self.large };
                let kib = u32::try_from((whole - allowed).div_ceil(1024)).unwrap_or(u32::MAX);
                let waiting = tokio::time::timeout_at(deadline, Arc::clone(budget).acquire_many_owned(kib));
                let Ok(Ok(permit)) = waiting.await else { return Err(BodyReadError::Overloaded) };
                taken.push(permit);
                // It was this side that let it wait.
                begun = tokio::time::Instant::now();
                allowed = whole;
                bytes.reserve_exact(whole - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// Reads a body and keeps nothing of it.
async fn discard(mut body: Incoming) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > MAX_BODY_BYTES {
            return;
        }
    }
}

/// A text answer that no browser keeps, frames, sniffs or refers from.
pub fn plain(status: StatusCode, text: &str) -> FullResponse {
    page(status, "text/plain; charset=utf-8", text, "default-src 'none'")
}

/// An answer with the headers that keep a page inert: no store, no referrer, no frame, and the given content policy.
pub fn page(status: StatusCode, content_type: &str, body: &str, content_policy: &str) -> FullResponse {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    for (name, value) in [
        ("content-type", content_type),
        ("content-security-policy", content_policy),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
