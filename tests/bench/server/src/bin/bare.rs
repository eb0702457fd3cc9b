//! The least that listing connections over HTTP can cost: axum, and the rows of the same encrypted store as JSON. It
//! authenticates nobody, counts and records nothing, and computes nothing from the rows.
//!
//!     bare STORE KEY

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

/// As many connections as integ reads with.
const READERS: usize = 4;

/// A row, as the API names its columns.
#[derive(Serialize)]
struct Row {
    connection: String,
    connector: String,
    mode: String,
    auth: String,
    origin: Option<String>,
    account_id: Option<String>,
    account_name: Option<String>,
    user: Option<String>,
    reveal: String,
    status: String,
    reason: Option<String>,
    scopes: Box<RawValue>,
    connected_at: i64,
    checked_at: Option<i64>,
    error_count: u32,
    last_error: Option<String>,
    expires_at: Option<i64>,
    refresh_expires_at: Option<i64>,
}

#[derive(Serialize)]
struct Page {
    data: Vec<Row>,
}

struct Readers {
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(key)) = (arguments.next(), arguments.next()) else { panic!("bare STORE KEY") };
    let idle = (0..READERS).map(|_| open(&path, &key).expect("a store")).collect();
    let readers = Arc::new(Readers { idle: Mutex::new(idle), free: Semaphore::new(READERS) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}/v1/connections", listener.local_addr().expect("an address"));
    let router = Router::new().route("/v1/connections", get(list)).with_state(readers);
    axum::serve(listener, router).await.expect("a server");
}

fn open(path: &str, key: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA cipher_default_hmac_algorithm = HMAC_SHA256; PRAGMA cipher_default_page_size = 8192; PRAGMA key = \"x'{key}'\""
    ))?;
    connection.query_row("SELECT count(*) FROM connections", [], |_| Ok(()))?;
    Ok(connection)
}

async fn list(State(readers): State<Arc<Readers>>) -> Json<Page> {
    let _permit = readers.free.acquire().await.expect("it is never closed");
    let pool = Arc::clone(&readers);
    let read = move || {
        let connection = pool.idle.lock().expect("no panic").pop().expect("one for each permit");
        let rows = read(&connection).expect("rows");
        pool.idle.lock().expect("no panic").push(connection);
        rows
    };
    Json(Page { data: tokio::task::spawn_blocking(read).await.expect("no panic") })
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(
        "SELECT c.connector, c.account, c.mode, c.auth, c.origin, c.account_id, c.account_name, c.user_id, c.reveal, \
         c.grant_status, c.status_reason, coalesce(c.scopes_granted, c.scopes_requested) AS scopes, c.connected_at, \
         c.checked_at, c.error_count, c.last_error, g.expires_at, g.refresh_expires_at \
         FROM connections c LEFT JOIN grants g ON g.connection_id = c.id ORDER BY c.connector, c.account",
    )?;
    let rows = statement.query_map([], |row| {
        let (connector, account): (String, String) = (row.get("connector")?, row.get("account")?);
        Ok(Row {
            connection: if account.is_empty() { connector.clone() } else { format!("{connector}@{account}") },
            connector,
            mode: row.get("mode")?,
            auth: row.get("auth")?,
            origin: row.get("origin")?,
            account_id: row.get("account_id")?,
            account_name: row.get("account_name")?,
            user: row.get("user_id")?,
            reveal: row.get("reveal")?,
            status: row.get("grant_status")?,
            reason: row.get("status_reason")?,
            scopes: RawValue::from_string(row.get("scopes")?).expect("JSON"),
            connected_at: row.get("connected_at")?,
            checked_at: row.get("checked_at")?,
            error_count: row.get("error_count")?,
            last_error: row.get("last_error")?,
            expires_at: row.get("expires_at")?,
            refresh_expires_at: row.get("refresh_expires_at")?,
        })
    })?;
    rows.collect()
}
