//! A small HTTP/1.1 server, used for the OAuth callback, the sandbox and webhooks.
//!
//! Every size and time is bounded, because any program that reaches the port can connect: a request's head is at most 16 KiB
//! (longer ones get 431 or 414), its body at most 1 MiB unless its handler allows more, a head must come within ten seconds,
//! and so must the next request of a connection that is kept open. Large bodies share a budget, and those of over 1 MiB
//! another: beyond it they wait in the network. The listener closes when the [`Server`] is dropped.
//!
//! The two kinds of server differ in what happens when many connections are open. [`Server::start`] is for this machine,
//! where one request matters: beyond 256 the oldest is dropped, so that slow ones never keep it out. [`Server::start_public`]
//! is for a public port, where every request matters: beyond some 4,000 a connection that has no request makes room, then one
//! whose request does not arrive, which is answered; a request that has arrived is always answered, and new connections wait.

mod answer;
mod body;
mod connections;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
pub use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::answer::AnsweringBody;
pub use self::answer::{StreamedBody, StreamedResponse, streamed};
use self::body::{BodyBudget, ReadBody, discard};
pub use self::body::{BodyReadError, MAX_BODY_BYTES};
use self::connections::{Closing, ConnectionTable, OpenConnection, Overflow, Phase, Slot};
use super::peer::SocketPair;

const MAX_HEAD_BYTES: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Open connections of a server for this machine.
const MAX_LOCAL_CONNECTIONS: usize = 256;

/// Open connections of a public server, if the process may open so many files.
const MAX_PUBLIC_CONNECTIONS: usize = 4096;

/// Files that a public server leaves for the rest of the process, if it may open more than twice as many.
const RESERVED_FILES: usize = 256;

/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What goes wrong with a body that is written as it comes.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response with its whole body in memory.
pub type FullResponse = Response<Full<Bytes>>;

/// Answers the requests of a server. A request has [`SocketPair`] among its extensions.
pub trait RequestHandler: Send + Sync + 'static {
    /// A request with an accepted head; its body has not arrived yet.
    type Admitted: Send;

    /// The body of an answer: [`Full`], or [`StreamedBody`] for one that is written as it comes.
    type Body: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Judges a request by its head, before its body is read. Returns what to answer it from, with how many bytes the body
    /// may have; or the answer, and the body is then thrown away as it arrives.
    fn admit(&self, head: Parts) -> impl Future<Output = Result<(Self::Admitted, usize), FullResponse>> + Send;

    /// Answers a request, also one whose body was not read.
    fn respond(
        &self,
        admitted: Self::Admitted,
        body: Result<Bytes, BodyReadError>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl<H: RequestHandler> RequestHandler for Arc<H> {
    type Admitted = H::Admitted;
    type Body = H::Body;

    fn admit(&self, head: Parts) -> impl Future<Output = Result<(Self::Admitted, usize), FullResponse>> + Send {
        (**self).admit(head)
    }

    fn respond(
        &self,
        admitted: Self::Admitted,
        body: Result<Bytes, BodyReadError>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        (**self).respond(admitted, body)
    }
}

/// A function of the whole request, whose body has at most [`MAX_BODY_BYTES`].
struct WholeRequests<H>(H);

impl<H, F> RequestHandler for WholeRequests<H>
where
    H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = FullResponse> + Send,
{
    type Admitted = Parts;
    type Body = Full<Bytes>;

    async fn admit(&self, head: Parts) -> Result<(Parts, usize), FullResponse> {
        Ok((head, MAX_BODY_BYTES))
    }

    async fn respond(&self, head: Parts, body: Result<Bytes, BodyReadError>) -> FullResponse {
        match body {
            Ok(body) => self.0(Request::from_parts(head, body)).await,
            Err(unread) => unread.answer(),
        }
    }
}

/// A running server; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    connections: Arc<ConnectionTable>,
    closing: watch::Sender<bool>,
    /// Ends when no connection is open any more.
    open: mpsc::Receiver<Infallible>,
}

impl Server {
    /// Serves this machine on the listeners, of which there is at least one, with a handler that gets the request with its
    /// whole body, and [`SocketPair`] among its extensions.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn start<H, F>(listeners: Vec<std::net::TcpListener>, handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = FullResponse> + Send + 'static,
    {
        let connections = ConnectionTable::new(MAX_LOCAL_CONNECTIONS, Overflow::DropOldest);
        Self::serve(listeners, connections, WholeRequests(handler))
    }

    /// Serves anybody on the listeners, of which there is at least one.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn start_public(listeners: Vec<std::net::TcpListener>, handler: impl RequestHandler) -> io::Result<Self> {
        Self::serve(listeners, ConnectionTable::new(public_limit(), Overflow::Wait), handler)
    }

    fn serve(
        listeners: Vec<std::net::TcpListener>,
        connections: Arc<ConnectionTable>,
        handler: impl RequestHandler,
    ) -> io::Result<Self> {
        let address = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?;
        let ready = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = listeners.into_iter().map(ready).collect::<io::Result<Vec<_>>>()?;
        let (closing, closed) = watch::channel(false);
        let (busy, open) = mpsc::channel(1);
        let service = Arc::new(Service { handler, budget: BodyBudget::default() });
        let task = tokio::spawn(accept(listeners, service, Arc::clone(&connections), closed, busy));
        Ok(Self { address, task, connections, closing, open })
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
        self.connections.abort_all();
    }
}

/// How many connections a public server may have open: a file descriptor each. The process's limit, often 1,024 files, is
/// raised for them as far as the system allows, but no further: programs that integ starts inherit it.
fn public_limit() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let wanted = (MAX_PUBLIC_CONNECTIONS + RESERVED_FILES) as u64;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current.is_some_and(|current| current < wanted) {
            let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
        }
        let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(0));
        MAX_PUBLIC_CONNECTIONS.min(files - RESERVED_FILES.min(files / 2))
    }
    #[cfg(not(unix))]
    MAX_PUBLIC_CONNECTIONS
}

/// The next connection at any of the listeners.
async fn next(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketPair)> {
    let accepting = listeners.iter().map(|listener| Box::pin(listener.accept()));
    let (stream, remote) = select_all(accepting).await.0?;
    let local = stream.local_addr()?;
    Ok((stream, SocketPair { local, remote }))
}

async fn accept<H: RequestHandler>(
    listeners: Vec<TcpListener>,
    service: Arc<Service<H>>,
    connections: Arc<ConnectionTable>,
    mut closing: watch::Receiver<bool>,
    busy: mpsc::Sender<Infallible>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = next(&listeners) => accepted,
            _ = closing.changed() => break,
        };
        let Ok((stream, ends)) = accepted else {
            // Out of file descriptors, mostly: those of closed connections come back in a moment.
            connections.make_room();
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = tokio::select! {
            connection = connections.open() => connection,
            // It has not said anything that could be answered.
            _ = closing.changed() => break,
        };
        let number = connection.number();
        let serving = serve_connection(stream, ends, Arc::clone(&service), connection, closing.clone(), busy.clone());
        let task = tokio::spawn(serving);
        connections.set_task(number, task.abort_handle());
    }
}

/// Serves one connection until it ends, until it makes room for another, or until nothing more is asked on it and the server
/// closes.
async fn serve_connection<H: RequestHandler>(
    stream: TcpStream,
    ends: SocketPair,
    service: Arc<Service<H>>,
    open: OpenConnection,
    mut closing: watch::Receiver<bool>,
    _busy: mpsc::Sender<Infallible>,
) {
    let slot = &open.slot;
    let answer = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        let service = Arc::clone(&service);
        // In a box: an idle connection has no room for it.
        Box::pin(async move { Ok::<_, Infallible>(service.answer(slot, request).await) })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong on one connection is the peer's affair.
    tokio::select! {
        _ = &mut connection => return,
        chosen = slot.chosen() => {
            if chosen == Closing::AfterAnswer {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(HEAD_TIMEOUT, connection).await;
            }
            return;
        }
        _ = closing.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// What answers requests.
struct Service<H> {
    handler: H,
    budget: BodyBudget,
}

impl<H: RequestHandler> Service<H> {
    async fn answer(&self, slot: &Arc<Slot>, request: Request<Incoming>) -> Response<AnsweringBody> {
        slot.enter(Phase::Answering);
        let (head, body) = request.into_parts();
        let answer = match self.handler.admit(head).await {
            Ok((admitted, most)) => streamed(self.respond(slot, admitted, body, most).await),
            Err(answer) => {
                slot.enter(Phase::Discarding);
                tokio::select! {
                    () = discard(body) => streamed(answer),
                    () = slot.cut_short() => streamed(last(answer)),
                }
            }
        };
        answer.map(|body| AnsweringBody::new(body, slot))
    }

    async fn respond(&self, slot: &Slot, admitted: H::Admitted, body: Incoming, most: usize) -> Response<H::Body> {
        slot.enter(Phase::Reading);
        let body = tokio::select! {
            body = self.budget.read(body, most) => body,
            () = slot.cut_short() => Err(BodyReadError::Overloaded),
        };
        slot.enter(Phase::Answering);
        match body {
            Ok(ReadBody { bytes, shares }) => {
                let answer = self.handler.respond(admitted, Ok(bytes)).await;
                drop(shares);
                answer
            }
            Err(unread) => last(self.handler.respond(admitted, Err(unread)).await),
        }
    }
}

/// Closes the connection after a response: the rest of the request cannot be distinguished from another request.
fn last<B>(mut answer: Response<B>) -> Response<B> {
    answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    answer
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
