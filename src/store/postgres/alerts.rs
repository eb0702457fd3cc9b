//! The alerts that last.

use std::collections::HashSet;

use async_trait::async_trait;

use super::PostgresStore;
use super::row::{get, get_word};
use crate::clock::Timestamp;
use crate::model::{Alert, AlertKey};
use crate::store::{Alerts, StoreError};

#[async_trait]
impl Alerts for PostgresStore {
    async fn settle(&self, alerts: &[Alert], now: Timestamp) -> Result<Vec<AlertKey>, StoreError> {
        let rows = self.rows("SELECT kind, subject FROM integ.alerts WHERE workspace_id = $1", &[]).await?;
        let known = rows.iter().map(|row| Ok(AlertKey { kind: get_word(row, "kind")?, subject: get(row, "subject")? }));
        let known: HashSet<AlertKey> = known.collect::<Result<_, StoreError>>()?;
        let ended: Vec<&AlertKey> = known.iter().filter(|key| alerts.iter().all(|alert| alert.key != **key)).collect();
        let mut begun: Vec<&AlertKey> = Vec::new();
        for alert in alerts.iter().filter(|alert| alert.is_over_threshold && !known.contains(&alert.key)) {
            if !begun.contains(&&alert.key) {
                begun.push(&alert.key);
            }
        }
        // Most of the time nothing has changed, and nothing is written.
        if begun.is_empty() && ended.is_empty() {
            return Ok(Vec::new());
        }
        let transaction = self.begin().await?;
        for key in ended {
            let sql = "DELETE FROM integ.alerts WHERE workspace_id = $1 AND kind = $2 AND subject = $3";
            transaction.execute(sql, &[&key.kind.as_str(), &key.subject]).await?;
        }
        let mut reported = Vec::new();
        for key in begun {
            // The row decides which of several processes reports it.
            let sql = "INSERT INTO integ.alerts (workspace_id, kind, subject, began_at) VALUES ($1, $2, $3, $4)
                       ON CONFLICT DO NOTHING";
            if transaction.execute(sql, &[&key.kind.as_str(), &key.subject, &now.as_second()]).await? == 1 {
                reported.push(key.clone());
            }
        }
        transaction.commit().await?;
        Ok(reported)
    }
}
