//! A client that sends and receives lines (MCP, "stdio" transport).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;

use super::handler::AgentHandler;
use crate::error::Result;
use crate::mcp_client::proxy::{ClientChannel, ClientLine};
use crate::ops::agents::AgentSession;

/// Bytes between the client's lines and the protocol.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long the requests of a client that has closed its end may take to be answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The answer to a line that is longer than any message may be.
const TOO_LONG: &str = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the message is too long"}}"#;

/// The requests of a client that were not answered yet, by their ids as they were written.
#[derive(Default)]
struct OpenRequests {
    ids: Mutex<BTreeSet<String>>,
    answered: Notify,
}

#[derive(Deserialize)]
struct MessageHead<'m> {
    #[serde(borrow)]
    id: Option<&'m RawValue>,
    #[serde(borrow)]
    method: Option<&'m RawValue>,
    #[serde(borrow)]
    params: Option<&'m RawValue>,
}

/// The request that a client no longer waits for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelledRequest<'m> {
    #[serde(borrow)]
    request_id: &'m RawValue,
}

impl OpenRequests {
    /// Notes a message of the client if it is a request, and one of the server if it is an answer.
    fn note(&self, line: &[u8]) {
        let Ok(MessageHead { id, method, params }) = serde_json::from_slice(line) else { return };
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match (id, method) {
            (Some(id), Some(_)) => {
                ids.insert(id.get().to_owned());
                return;
            }
            (Some(id), None) => Some(id.get()),
            // It is not answered.
            (None, Some(method)) if method.get() == "\"notifications/cancelled\"" => {
                let cancelled =
                    params.and_then(|params| serde_json::from_str::<CancelledRequest<'_>>(params.get()).ok());
                cancelled.map(|cancelled| cancelled.request_id.get())
            }
            (None, _) => None,
        };
        if ended.is_some_and(|id| ids.remove(id)) {
            self.answered.notify_one();
        }
    }

    async fn all_answered(&self) {
        while !self.ids.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.answered.notified().await;
        }
    }
}

/// Serves a client until it closes its end, or a stop is requested. What it asked before is answered.
pub(super) async fn serve(agent: AgentSession, client: ClientChannel) -> Result<()> {
    let shutdown = agent.workspace.engine.shutdown.clone();
    let ClientChannel { mut lines, output } = client;
    let (protocol, bridge) = tokio::io::duplex(BUFFER_BYTES);
    let (from_server, mut to_server) = tokio::io::split(bridge);
    let (open, refusals) = (Arc::new(OpenRequests::default()), output.clone());
    let asked = Arc::clone(&open);
    let reading = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            let written = match line {
                ClientLine::Text(mut line) => {
                    asked.note(&line);
                    line.push(b'\n');
                    to_server.write_all(&line).await.is_ok()
                }
                ClientLine::TooLong => refusals.send(TOO_LONG.to_owned()).await.is_ok(),
            };
            if !written {
                break;
            }
        }
        // The end of the client's lines is the end of the session.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, asked.all_answered()).await;
        let _ = to_server.shutdown().await;
    });
    let writing = tokio::spawn(async move {
        let mut lines = BufReader::new(from_server).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            open.note(line.as_bytes());
            if output.send(line).await.is_err() {
                break;
            }
        }
    });
    let serving = async {
        match Box::pin(AgentHandler::local(agent).serve(tokio::io::split(protocol))).await {
            Ok(running) => _ = running.waiting().await,
            Err(ServerInitializeError::ConnectionClosed(_)) => {}
            Err(error) => tracing::debug!(%error, "an MCP client did not initialize"),
        }
    };
    tokio::select! {
        () = serving => {}
        () = shutdown.requested() => {}
    }
    reading.abort();
    // What was answered is written out.
    let _ = writing.await;
    Ok(())
}
