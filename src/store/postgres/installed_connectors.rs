//! Connectors that were installed in a workspace.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, get, get_seconds, number, to_json, user};
use super::seal::{Column, Sealer, column};
use super::transaction::Subject;
use super::value::Value;
use crate::model::{InstalledConnector, UserId};
use crate::store::{InstalledConnectors, StoreError};

const SOURCE: Column = column("installed_connectors", "source");
const CONFIGURATION: Column = column("installed_connectors", "configuration");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT connector, sha256, source, installed_at, installed_by, user_id, configuration
             FROM integ.installed_connectors WHERE workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl InstalledConnectors for PostgresStore {
    async fn add(&self, connector: &InstalledConnector, most: u32) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        transaction.lock(Subject::InstalledConnectors).await?;
        let sql =
            "SELECT count(*) AS others FROM integ.installed_connectors WHERE workspace_id = $1 AND connector <> $2";
        let others: u32 =
            transaction.first(sql, &[&connector.connector]).await?.map_or(Ok(0), |row| number(&row, "others"))?;
        if others >= most {
            return Ok(false);
        }
        let id = connector.connector.as_str();
        let sql = "INSERT INTO integ.installed_connectors
                       (workspace_id, connector, sha256, source, installed_at, installed_by, user_id, configuration)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                   ON CONFLICT (workspace_id, connector) DO UPDATE SET sha256 = excluded.sha256,
                       source = excluded.source, installed_at = excluded.installed_at,
                       installed_by = excluded.installed_by, user_id = excluded.user_id,
                       configuration = excluded.configuration";
        let values: [Value<'_>; 7] = [
            &id,
            &connector.sha256,
            &transaction.sealer.seal(SOURCE, id, &connector.source)?,
            &connector.installed_at.as_second(),
            &connector.installed_by,
            &connector.user.as_ref().map(UserId::as_str),
            &transaction.sealer.seal(CONFIGURATION, id, to_json(&connector.configuration)?)?,
        ];
        transaction.execute(sql, &values).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn list(&self) -> Result<Vec<InstalledConnector>, StoreError> {
        let rows = self.rows(select!("ORDER BY connector"), &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn get(&self, connector: &str) -> Result<Option<InstalledConnector>, StoreError> {
        let row = self.row(select!("AND connector = $2"), &[&connector]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn configure(&self, connector: &str, configuration: &BTreeMap<String, String>) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let sealed = transaction.sealer.seal(CONFIGURATION, connector, to_json(configuration)?)?;
        let sql = "UPDATE integ.installed_connectors SET configuration = $3 WHERE workspace_id = $1 AND connector = $2";
        let configured = transaction.execute(sql, &[&connector, &sealed]).await?;
        transaction.commit().await?;
        Ok(configured == 1)
    }

    async fn remove(&self, connector: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM integ.installed_connectors WHERE workspace_id = $1 AND connector = $2";
        Ok(self.execute(sql, &[&connector]).await? == 1)
    }
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<InstalledConnector, StoreError> {
    let connector: String = get(row, "connector")?;
    let sealed = SealedRow::new(sealer, row, connector.as_str());
    Ok(InstalledConnector {
        sha256: get(row, "sha256")?,
        source: sealed.required_text(SOURCE)?,
        installed_at: get_seconds(row, "installed_at")?,
        installed_by: get(row, "installed_by")?,
        user: user(row, "user_id")?,
        configuration: sealed.json_or_default(CONFIGURATION)?,
        connector: connector.clone(),
    })
}
