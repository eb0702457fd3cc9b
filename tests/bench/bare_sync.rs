//! The least that pulling a list into a database can be: what `integ sync` is measured against.
//!
//!     bare_sync URL TOKEN DATABASE
//!
//! One page after the other, by its `Link` header or the cursor in its body, into plain SQLite: the raw JSON by its id, a
//! transaction a page.

use std::error::Error;

use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

#[derive(Deserialize)]
struct Id {
    id: i64,
}

#[derive(Deserialize)]
struct Page<'p> {
    #[serde(borrow)]
    items: Vec<&'p RawValue>,
    next: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(token), Some(path)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("bare_sync URL TOKEN DATABASE".into());
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let mut database = rusqlite::Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", "full")?;
    database.execute_batch("CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, json TEXT NOT NULL)")?;
    let first = Url::parse(&url)?;
    let mut next = Some(first.clone());
    while let Some(url) = next.take() {
        let response = client.get(url.clone()).bearer_auth(&token).send().await?.error_for_status()?;
        if let Some(link) = response.headers().get("link") {
            let target = link.to_str()?.split(['<', '>']).nth(1).ok_or("a link without a target")?;
            next = Some(url.join(target)?);
        }
        let body = response.bytes().await?;
        let records: Vec<&RawValue> = if body.starts_with(b"[") {
            serde_json::from_slice(&body)?
        } else {
            let page: Page<'_> = serde_json::from_slice(&body)?;
            next = page.next.map(|cursor| Url::parse_with_params(first.as_str(), [("cursor", cursor)])).transpose()?;
            page.items
        };
        let transaction = database.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO records (id, json) VALUES (?1, ?2)")?;
            for record in records {
                let Id { id } = serde_json::from_str(record.get())?;
                insert.execute((id, record.get()))?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}
