//! The alerts that last.

use std::collections::HashSet;

use async_trait::async_trait;
use rusqlite::Connection;

use super::row::{collect, get_word, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{Alert, AlertKey};
use crate::store::Alerts;

#[async_trait]
impl Alerts for SqliteStore {
    async fn settle(&self, alerts: &[Alert], now: Timestamp) -> Result<Vec<AlertKey>, StoreError> {
        let alerts = alerts.to_vec();
        let known = self.read(list).await?;
        // Most of the time nothing has changed, and nothing is written.
        let (begun, ended) = changes(&known, &alerts);
        if begun.is_empty() && ended.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |transaction| {
            let (begun, ended) = changes(&list(transaction)?, &alerts);
            for key in ended {
                let sql = "DELETE FROM alerts WHERE kind = ?1 AND subject = ?2";
                transaction.execute(sql, (key.kind.as_str(), &key.subject))?;
            }
            for key in &begun {
                let sql = "INSERT INTO alerts (kind, subject, began_at) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, (key.kind.as_str(), &key.subject, now.as_second()))?;
            }
            Ok(begun)
        })
        .await
    }
}

fn list(sqlite: &Connection) -> Result<HashSet<AlertKey>, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT kind, subject FROM alerts")?;
    let keys = collect(query(&mut statement, [])?, |row| {
        Ok(AlertKey { kind: get_word(row, "kind")?, subject: row.get("subject")? })
    })?;
    Ok(keys.into_iter().collect())
}

/// Returns which alerts begin, and which end.
fn changes(known: &HashSet<AlertKey>, alerts: &[Alert]) -> (Vec<AlertKey>, Vec<AlertKey>) {
    let mut begun: Vec<AlertKey> = Vec::new();
    for alert in alerts.iter().filter(|alert| alert.is_over_threshold && !known.contains(&alert.key)) {
        if !begun.contains(&alert.key) {
            begun.push(alert.key.clone());
        }
    }
    let lasts = |key: &&AlertKey| alerts.iter().any(|alert| alert.key == **key);
    (begun, known.iter().filter(|key| !lasts(key)).cloned().collect())
}
