//! The columns whose values are sealed, for what is done with all of them: another key, another store.

use super::seal::{Column, RowKey};
use crate::store::{MalformedValue, StoreError};

/// A table with sealed columns.
#[derive(Debug)]
pub(super) struct SealedTable {
    pub(super) name: &'static str,
    /// What identifies a row within a workspace. A value is bound to it.
    pub(super) key: &'static [KeyColumn],
    pub(super) columns: &'static [&'static str],
}

/// A column of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyColumn {
    Id(&'static str),
    Text(&'static str),
}

impl KeyColumn {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id(name) | Self::Text(name) => name,
        }
    }
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyValue {
    Id(i64),
    Text(String),
}

/// Returns the place that the values of a row are bound to.
pub(super) fn row_key(values: &[KeyValue]) -> Result<RowKey<'_>, StoreError> {
    Ok(match values {
        // A workspace has one row of such a table.
        [] => RowKey::Id(0),
        [KeyValue::Id(id)] => RowKey::Id(*id),
        [KeyValue::Text(text)] => RowKey::Text(text),
        [KeyValue::Id(first), KeyValue::Id(second)] => RowKey::Ids(*first, *second),
        [KeyValue::Text(first), KeyValue::Text(second)] => RowKey::Texts(first, second),
        _ => return Err(MalformedValue::EnumValue("key".to_owned()).into()),
    })
}

impl SealedTable {
    /// Returns the sealed column of a name.
    pub(super) fn column(&self, name: &str) -> Option<Column> {
        let name = self.columns.iter().find(|column| **column == name)?;
        Some(Column { table: self.name, name })
    }
}

/// Returns the table of a name, if it has sealed columns.
pub(super) fn sealed_table(name: &str) -> Option<&'static SealedTable> {
    SEALED_TABLES.iter().find(|table| table.name == name)
}

const ID: &[KeyColumn] = &[KeyColumn::Id("id")];
const TEXT_ID: &[KeyColumn] = &[KeyColumn::Text("id")];
const CONNECTION: &[KeyColumn] = &[KeyColumn::Id("connection_id")];

const fn table(name: &'static str, key: &'static [KeyColumn], columns: &'static [&'static str]) -> SealedTable {
    SealedTable { name, key, columns }
}

/// All sealed columns.
pub(super) static SEALED_TABLES: &[SealedTable] = &[
    table("workspaces", &[], &["index_key"]),
    table("connections", ID, &["params", "metadata", "status_reason", "last_error"]),
    table("health_checks", ID, &["error"]),
    table("grants", CONNECTION, &["secrets"]),
    table("apps", &[KeyColumn::Text("connector"), KeyColumn::Text("server")], &["client_secret"]),
    table("installed_connectors", &[KeyColumn::Text("connector")], &["source", "configuration"]),
    table("connect_links", TEXT_ID, &["params"]),
    table("sign_ins", TEXT_ID, &["details", "result"]),
    table("sandbox_state", &[KeyColumn::Text("key")], &["value"]),
    table("webhooks", CONNECTION, &["path", "public_url", "params", "secrets"]),
    table("events", ID, &["details", "signed_digest", "request", "body", "batch_item", "last_error"]),
    table("event_conflicts", ID, &["details", "signed_digest", "request", "body", "batch_item"]),
    table("event_attempts", &[KeyColumn::Id("event_id"), KeyColumn::Id("number")], &["error", "output"]),
    table("subscriptions", ID, &["url", "params", "metadata", "secret", "last_error"]),
    table("bindings", ID, &["text"]),
    table("binding_failures", ID, &["reason"]),
    table(
        "idempotency_keys",
        &[KeyColumn::Text("caller"), KeyColumn::Text("key")],
        &["request_digest", "location", "body"],
    ),
    table("entity_states", &[KeyColumn::Id("binding_id"), KeyColumn::Id("link_id")], &["agreed", "ours", "conflicts"]),
    table("entity_writes", ID, &["params", "fields"]),
    table("event_types", &[KeyColumn::Text("kind")], &["sample"]),
    table("endpoints", TEXT_ID, &["url", "secrets"]),
    table("messages", TEXT_ID, &["body"]),
    table("deliveries", ID, &["last_error"]),
    table("attempts", ID, &["request_headers", "response_body", "error"]),
    table("streams", ID, &["params"]),
    table("partitions", ID, &["params", "cursor", "checkpoint", "backfill_checkpoint"]),
    table("cursor_history", ID, &["cursor"]),
    table("records", ID, &["body", "deleted_cursor"]),
    table("jobs", ID, &["error"]),
    table("approvals", TEXT_ID, &["summary", "request", "request_digest"]),
    table("audit_state", &[], &["signing_seed"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::migrations::columns;
    use super::*;

    /// Columns of bytes that are hashes, signatures or ids.
    const UNSEALED: &[&str] = &[
        "api_token_exchanges.digest",
        "api_tokens.hash",
        "api_tokens.previous_hash",
        "approvals.digest",
        "audit_entries.hash",
        "audit_entries.previous",
        "audit_state.hash",
        "audit_state.pruned_hash",
        "audit_state.pruned_signature",
        "connect_links.secret_hash",
        "dashboard_links.secret_hash",
        "event_conflicts.digest",
        "event_keys.key",
        "events.dedup_key",
        "events.digest",
        "events.signed_dedup_key",
        "idempotency_keys.digest",
        "partitions.params_hash",
        "records.hash",
        "records.key_hash",
        "seen_ids.ids",
        "sessions.secret_hash",
        "sign_ins.state_hash",
    ];

    #[test]
    fn every_column_of_bytes_is_sealed_or_known_to_say_nothing() {
        let in_schema: BTreeSet<String> = columns()
            .into_iter()
            .filter(|column| column.kind == "BYTEA")
            .map(|column| format!("{}.{}", column.table, column.name))
            .collect();
        let sealed = SEALED_TABLES
            .iter()
            .flat_map(|table| table.columns.iter().map(|column| format!("{}.{column}", table.name)));
        let known: BTreeSet<String> = sealed.chain(UNSEALED.iter().map(|name| (*name).to_owned())).collect();
        assert_eq!(in_schema, known);
        let count = SEALED_TABLES.iter().map(|table| table.columns.len()).sum::<usize>() + UNSEALED.len();
        assert_eq!(count, known.len(), "a column is named twice");
    }

    #[test]
    fn every_sealed_value_is_bound_to_the_key_of_its_row() {
        let schema = include_str!("migrations/0001_init.sql");
        for table in SEALED_TABLES {
            let start = schema.find(&format!("CREATE TABLE integ.{} (", table.name)).unwrap();
            let definition = &schema[start..start + schema[start..].find("\n)").unwrap()];
            let key = definition.split_once("PRIMARY KEY (").map(|(_, rest)| rest.split(')').next().unwrap());
            let expected: Vec<_> = ["workspace_id"].into_iter().chain(table.key.iter().map(|key| key.name())).collect();
            // The tables with one row declare it with their column.
            assert_eq!(key.unwrap_or("workspace_id"), expected.join(", "), "{}", table.name);
        }
    }
}
