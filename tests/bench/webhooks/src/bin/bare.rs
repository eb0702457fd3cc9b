//! The least that receiving a webhook durably can cost: axum, the HMAC, and one commit into plain SQLite for all requests
//! that wait. It reads no JSON and knows no duplicates.
//!
//!     bare DATABASE SECRET

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use ring::hmac;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Events of one commit.
const MOST_TOGETHER: usize = 256;

type Waiting = (Bytes, oneshot::Sender<bool>);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(secret)) = (arguments.next(), arguments.next()) else { panic!("bare DATABASE SECRET") };
    let (sender, receiver) = mpsc::channel(1024);
    std::thread::spawn(move || write(&database, receiver).expect("a store"));
    let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    let receive = move |headers: HeaderMap, body: Bytes| {
        let (key, sender) = (Arc::clone(&key), sender.clone());
        async move { take(&key, &sender, &headers, body).await }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}/webhooks", listener.local_addr().expect("an address"));
    axum::serve(listener, Router::new().route("/webhooks", post(receive))).await.expect("a server");
}

async fn take(key: &hmac::Key, sender: &mpsc::Sender<Waiting>, headers: &HeaderMap, body: Bytes) -> StatusCode {
    if !is_right(key, headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let (taken, result) = oneshot::channel();
    if sender.send((body, taken)).await.is_ok() && result.await == Ok(true) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn is_right(key: &hmac::Key, headers: &HeaderMap, body: &[u8]) -> bool {
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let Some((at, given)) = signature.and_then(|text| text.strip_prefix("t=")?.split_once(",v1=")) else { return false };
    let given: Option<Vec<u8>> =
        (0..given.len()).step_by(2).map(|at| u8::from_str_radix(given.get(at..at + 2)?, 16).ok()).collect();
    let message = [at.as_bytes(), b".", body].concat();
    given.is_some_and(|given| hmac::verify(key, &message, &given).is_ok())
}

fn write(database: &str, mut receiver: mpsc::Receiver<Waiting>) -> rusqlite::Result<()> {
    let mut connection = Connection::open(database)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, body BLOB NOT NULL)",
    )?;
    let mut together = Vec::new();
    while receiver.blocking_recv_many(&mut together, MOST_TOGETHER) > 0 {
        let transaction = connection.transaction()?;
        {
            let sql = "INSERT INTO events (received_at, body) VALUES (unixepoch(), ?1)";
            let mut insert = transaction.prepare_cached(sql)?;
            for (body, _) in &together {
                insert.execute([body.as_ref()])?;
            }
        }
        transaction.commit()?;
        for (_, taken) in together.drain(..) {
            let _ = taken.send(true);
        }
    }
    Ok(())
}
