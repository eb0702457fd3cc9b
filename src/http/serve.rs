//! A small HTTP/1.1 server for this machine: the OAuth callback and the sandbox stand on it.
//!
//! Every size and time is bounded, because any program of this machine can connect: a request's head is at most 16 KiB
//! (longer ones get 431 or 414), its body at most 1 MiB, a head must come within ten seconds, and beyond 256 open
//! connections the oldest is dropped, so that slow ones never keep out the one that matters. The listener closes when the
//! [`Server`] is dropped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
pub use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::peer::Ends;

const LARGEST_HEAD: usize = 16 * 1024;
const LARGEST_BODY: usize = 1024 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_CONNECTIONS: usize = 256;

pub type Answer = Response<Full<Bytes>>;

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
    /// and [`Ends`] among its extensions.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn start<H, F>(listeners: Vec<std::net::TcpListener>, handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let address = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?;
        let ready = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = listeners.into_iter().map(ready).collect::<io::Result<Vec<_>>>()?;
        let (closing, closed) = watch::channel(false);
        let (busy, open) = mpsc::channel(1);
        let task = tokio::spawn(accept(listeners, Arc::new(handler), closed, busy));
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
struct Open(AbortHandle);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The next connection at any of the listeners.
async fn next(listeners: &[TcpListener]) -> io::Result<(TcpStream, Ends)> {
    let accepting = listeners.iter().map(|listener| Box::pin(listener.accept()));
    let (stream, remote) = select_all(accepting).await.0?;
    let local = stream.local_addr()?;
    Ok((stream, Ends { local, remote }))
}

async fn accept<H, F>(
    listeners: Vec<TcpListener>,
    handler: Arc<H>,
    mut closing: watch::Receiver<bool>,
    busy: mpsc::Sender<Infallible>,
) where
    H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut open: VecDeque<Open> = VecDeque::new();
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
        if open.len() >= MOST_CONNECTIONS {
            open.pop_front();
        }
        let handler = Arc::clone(&handler);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ends);
            let handler = Arc::clone(&handler);
            async move { Ok::<_, Infallible>(answer(request, &*handler).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(LARGEST_HEAD)
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
        open.push_back(Open(task.abort_handle()));
    }
    drop((listeners, busy));
    // Dropping the connections would cut off what they are still answering: they stay until the server goes.
    std::future::pending::<()>().await;
}

async fn answer<H, F>(request: Request<Incoming>, handler: &H) -> Answer
where
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Answer>,
{
    let (head, body) = request.into_parts();
    // One that says how long it is need not be read to be refused.
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.");
    }
    match tokio::time::timeout(HEAD_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => handler(Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(_)) => plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
        Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "The request took too long."),
    }
}

/// A text answer that no browser keeps, frames, sniffs or refers from.
pub fn plain(status: StatusCode, text: &str) -> Answer {
    page(status, "text/plain; charset=utf-8", text, "default-src 'none'")
}

/// An answer with the headers that keep a page inert: no store, no referrer, no frame, and the given content policy.
pub fn page(status: StatusCode, content_type: &str, body: &str, content_policy: &str) -> Answer {
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
