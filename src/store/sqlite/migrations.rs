//! Schema versions: forward only, each in one exclusive transaction.
//!
//! Never change a migration that was released: stores in use have run it already and would not run it again, and
//! `vault check` would then find their schema to differ. Add one instead. To give `jobs` a priority, for example, write
//! `migrations/0002_job_priority.sql`:
//!
//! ```sql
//! ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
//! ```
//!
//! and append its `include_str!` to `MIGRATIONS`. Its place in the list is its version number, so the order never
//! changes either.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The steps from an empty file to the present schema, in the order of their version numbers, which begin at 1.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_init.sql")];

/// The schema version that this program writes.
pub(super) const LATEST: u32 = MIGRATIONS.len() as u32;

pub(super) fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Brings the store to [`LATEST`]; of several processes one does each step and the others find it done.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    migrate_to(connection, LATEST)
}

/// Brings the store to a version, as [`migrate`] does.
pub(super) fn migrate_to(connection: &mut Connection, wanted: u32) -> Result<(), StoreError> {
    run(connection, MIGRATIONS, wanted)
}

/// Runs those of the `migrations` up to version `wanted` that the store has not had yet.
fn run(connection: &mut Connection, migrations: &[&str], wanted: u32) -> Result<(), StoreError> {
    for (number, sql) in (1..=wanted).zip(migrations) {
        if version(connection)? >= number {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        if version(&transaction)? < number {
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let version_of = |connection: &Connection| -> (u32, u32) {
            let schema = connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).unwrap();
            (version(connection).unwrap(), schema)
        };
        let before = version_of(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(version_of(&connection), before);
        assert_eq!(before.0, LATEST);
    }

    #[test]
    fn a_later_migration_keeps_the_rows_and_runs_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute("INSERT INTO event_types (kind, description) VALUES ('a', 'b')", []).unwrap();
        let added = "ALTER TABLE event_types ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'";
        let later: Vec<&str> = MIGRATIONS.iter().copied().chain([added]).collect();
        // A second run of the ALTER would fail: the column exists.
        for _ in 0..2 {
            run(&mut connection, &later, LATEST + 1).unwrap();
            let row: (String, String) = connection
                .query_row("SELECT kind, colour FROM event_types", [], |row| Ok((row.get("kind")?, row.get("colour")?)))
                .unwrap();
            assert_eq!(row, ("a".to_owned(), "red".to_owned()));
            assert_eq!(version(&connection).unwrap(), LATEST + 1);
        }
    }

    #[test]
    fn a_migration_that_fails_leaves_the_store_at_its_version() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let broken = "CREATE TABLE half (a); CREATE TABLE half (a)";
        let later: Vec<&str> = MIGRATIONS.iter().copied().chain([broken]).collect();
        run(&mut connection, &later, LATEST + 1).unwrap_err();
        assert_eq!(version(&connection).unwrap(), LATEST);
        connection.query_row("SELECT a FROM half", [], |_| Ok(())).unwrap_err();
    }

    #[test]
    fn the_schema_is_as_expected() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT m.name, group_concat(c.name, ' ') AS columns FROM sqlite_schema m, pragma_table_info(m.name) c
                      WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' GROUP BY m.name ORDER BY m.name",
            )
            .unwrap();
        let tables = statement.query_map([], |row| {
            Ok(format!("{}: {}", row.get::<_, String>("name")?, row.get::<_, String>("columns")?))
        });
        let tables: Vec<String> = tables.unwrap().map(Result::unwrap).collect();
        insta::assert_snapshot!(tables.join("\n"), @r"
        alerts: kind subject began_at
        api_token_connections: token_id connection_id
        api_token_exchanges: digest accepted_until
        api_token_trust_connections: trust connection_id
        api_token_trusts: name issuer audience claims scopes approve lifetime created_at
        api_tokens: id name user_id hash previous_hash previous_until scopes is_limited tier parent_id root_id is_enabled created_at rotated_at expires_at rotate_after last_used_at approve trust
        api_usage: token_id day operation outcome count
        approvals: id token_id operation effect connection digest summary request status use_limit requested_at expires_at decided_at used_at
        apps: connector server client_id client_secret updated_at
        attempts: id delivery_id started_at duration_ms request_headers response_status response_body error
        audit_entries: sequence at actor actor_id operation effect connection user_id consent_id source request_id detail outcome error_code previous hash latest_at
        audit_state: only_row signing_seed sequence hash pruned_sequence pruned_hash pruned_at pruned_signature
        binding_failures: id binding_id record_id event_id reason failed_at
        bindings: id name connector account stream event text created_at changed_at dropped_failures
        connect_links: id secret_hash connector account auth scopes params user_id mode display return_to is_guarded created_at expires_at uses_left revoked_at
        connections: id connector account mode auth origin params metadata account_id account_name scopes_requested scopes_granted grant_status status_reason connected_at connected_by user_id reveal checked_at check_passed check_unauthorized error_count last_error
        consents: id user_id consent_type resource_type resource_id purpose policy_version description granted_at revoked_at
        cursor_history: id partition_id cursor replaced_at
        dashboard_links: secret_hash operator expires_at
        deliveries: id message_id endpoint_id status attempts due_at expires_at created_at last_error
        endpoints: id url description events secrets backoff max_attempts ttl_secs timeout_secs rate_requests rate_secs disabled_reason disabled_at failing_since last_failed_at paused_until created_at
        entity_states: binding_id link_id agreed ours ours_changed_at conflicts is_deleted seen_version changed_at
        entity_writes: id binding_id connection_id user_id entity_type entity_id kind link_id action params key fields started_at
        event_attempts: event_id number attempt handler started_at duration_ms status error output
        event_conflicts: id event_id received_at digest signed_digest verification kind account resource actor occurred_at headers query body batch_item
        event_creations: connection_id entity_type entity_id key calendar starts_at ends_at created_at
        event_dedup_keys: key event_id
        event_types: kind description sample
        events: id connection_id delivery_id has_delivery_id dedup_key digest signed_digest signed_dedup_key verification kind account resource actor occurred_at received_at headers query body batch_event_id batch_item status attempts completed_handlers due_at last_error
        grants: connection_id secrets in_keyring client_id issued_at expires_at refresh_expires_at refresh_method generation refresh_started_at refresh_generation from_backup
        health_checks: id connection_id at outcome duration_ms http_status error
        idempotency_keys: caller key digest claimed_at claimed_until request_id audit_sequence status content_type location body
        installed_connectors: connector sha256 source installed_at installed_by user_id configuration
        jobs: id stream_id mode status since until started_at started_by ended_at resumes_at added changed deleted unchanged requests retries bytes error error_code cancel_requested
        links: id connection_id user_id entity_type entity_id resource object_id merged_into created_at changed_at
        locks: key holder fence expires_at
        messages: id kind body created_at
        meta: only_row vault_id sequence created_at restored_at dedup_indexed_to
        operators: name role created_at
        partitions: id stream_id params parent_record_id parent_version cursor checkpoint backfill_checkpoint synced_at
        rate_requests: token_id number at
        record_bodies: record_id json
        records: id stream_id partition_id key hash version added_version first_seen_at changed_at deleted_at deleted_cursor vendor_updated_at vendor_event_id
        sandbox_state: key value
        schedules: id connection_id stream rule jitter_secs next_at last_at
        seen_ids: id partition_id ids
        sessions: secret_hash operator started_at last_seen_at
        sign_ins: id state_hash connector account details poll_interval_secs polled_at user_id link_id return_to created_at expires_at taken_at result ended_at
        streams: id connection_id name params
        subscriptions: id connection_id status url events params idempotency_key metadata secret created_at renewed_at expires_at failures last_failed_at last_error
        webhooks: connection_id path public_url port params secrets
        ");
    }
}
