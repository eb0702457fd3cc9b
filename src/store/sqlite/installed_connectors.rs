//! Connectors that were installed in a workspace.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::params;

use super::row::{Row, collect, first, get_json, get_seconds, query, to_json, user};
use super::{SqliteStore, StoreError};
use crate::model::{InstalledConnector, UserId};
use crate::store::InstalledConnectors;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT connector, sha256, source, installed_at, installed_by, user_id, configuration \
             FROM installed_connectors ",
            $rest
        )
    };
}

#[async_trait]
impl InstalledConnectors for SqliteStore {
    async fn add(&self, connector: &InstalledConnector, most: u32) -> Result<bool, StoreError> {
        let row = connector.clone();
        self.write(move |transaction| {
            let sql = "SELECT count(*) FROM installed_connectors WHERE connector <> ?1";
            let others: u32 = transaction.query_row(sql, [&row.connector], |found| found.get(0))?;
            if others >= most {
                return Ok(false);
            }
            let sql = "INSERT OR REPLACE INTO installed_connectors (connector, sha256, source, installed_at, \
                       installed_by, user_id, configuration) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            transaction.execute(
                sql,
                params![
                    row.connector,
                    row.sha256,
                    row.source,
                    row.installed_at.as_second(),
                    row.installed_by,
                    row.user.as_ref().map(UserId::as_str),
                    to_json(&row.configuration)?,
                ],
            )?;
            Ok(true)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<InstalledConnector>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("ORDER BY connector"))?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn get(&self, connector: &str) -> Result<Option<InstalledConnector>, StoreError> {
        let connector = connector.to_owned();
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE connector = ?1"))?;
            first(query(&mut statement, [connector])?, from_row)
        })
        .await
    }

    async fn configure(&self, connector: &str, configuration: &BTreeMap<String, String>) -> Result<bool, StoreError> {
        let (connector, configuration) = (connector.to_owned(), to_json(configuration)?);
        self.write(move |transaction| {
            let sql = "UPDATE installed_connectors SET configuration = ?2 WHERE connector = ?1";
            Ok(transaction.execute(sql, (&connector, &configuration))? == 1)
        })
        .await
    }

    async fn remove(&self, connector: &str) -> Result<bool, StoreError> {
        let connector = connector.to_owned();
        self.write(move |transaction| {
            Ok(transaction.execute("DELETE FROM installed_connectors WHERE connector = ?1", [&connector])? == 1)
        })
        .await
    }
}

fn from_row(row: &Row<'_>) -> Result<InstalledConnector, StoreError> {
    Ok(InstalledConnector {
        connector: row.get("connector")?,
        sha256: row.get("sha256")?,
        source: row.get("source")?,
        installed_at: get_seconds(row, "installed_at")?,
        installed_by: row.get("installed_by")?,
        user: user(row, "user_id")?,
        configuration: get_json(row, "configuration")?,
    })
}
