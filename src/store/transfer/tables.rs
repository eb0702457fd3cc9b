//! The tables of a workspace as they are carried from one store to another, whatever each store makes of them.
//!
//! What a store derives from the rest is not here: keys of indexes, keyed hashes, the leases of locks. A table comes after those
//! that it refers to. Where two tables refer to each other, or a table to itself, the references are a table of their own, which
//! is written once all rows are there.

use super::{TransferColumn, TransferTable, TransferType};

macro_rules! tables {
    ($($constant:ident = $name:literal, $keys:literal: [$($column:ident $type:ident),*];)*) => {
        $(
            pub(in crate::store) static $constant: TransferTable = TransferTable {
                name: $name,
                key_length: $keys,
                columns: &[$(tables!(@$type stringify!($column))),*],
            };
        )*

        /// All tables, in the order in which they are written.
        pub static TRANSFER_TABLES: &[&TransferTable] = &[$(&$constant),*];
    };
    (@I $name:expr) => { column($name, TransferType::Integer) };
    (@F $name:expr) => { column($name, TransferType::Flag) };
    (@T $name:expr) => { column($name, TransferType::Text) };
    (@B $name:expr) => { column($name, TransferType::Bytes) };
    (@i $name:expr) => { optional($name, TransferType::Integer) };
    (@f $name:expr) => { optional($name, TransferType::Flag) };
    (@t $name:expr) => { optional($name, TransferType::Text) };
    (@b $name:expr) => { optional($name, TransferType::Bytes) };
}

/// A column that is never NULL.
const fn column(name: &'static str, kind: TransferType) -> TransferColumn {
    TransferColumn { name, kind, is_optional: false }
}

/// A column that may be NULL.
const fn optional(name: &'static str, kind: TransferType) -> TransferColumn {
    TransferColumn { name, kind, is_optional: true }
}

// After each name the number of its first columns that are its key. Columns are Integers, Flags, Texts or Bytes; with a small
// letter they may be NULL.
tables! {
    WORKSPACE = "workspace", 0: [created_at I, restored_at i];
    CONNECTIONS = "connections", 1: [
        id I, connector T, account T, mode T, auth T, origin t, params T, metadata T, account_id t, account_name t,
        scopes_requested T, scopes_granted t, grant_status T, status_reason t, connected_at I, connected_by t,
        user_id t, reveal T, checked_at i, check_passed f, check_unauthorized F, error_count I, last_error t
    ];
    HEALTH_CHECKS = "health_checks", 1: [id I, connection_id I, at I, outcome T, duration_ms i, http_status i, error t];
    ALERTS = "alerts", 2: [kind T, subject T, began_at I];
    GRANTS = "grants", 1: [
        connection_id I, secrets t, in_keyring F, client_id t, issued_at I, expires_at i, refresh_expires_at i,
        refresh_method T, generation I, refresh_started_at i, refresh_generation i, from_backup F
    ];
    APPS = "apps", 2: [connector T, server T, client_id T, client_secret t, updated_at I];
    INSTALLED_CONNECTORS = "installed_connectors", 1: [
        connector T, sha256 T, source T, installed_at I, installed_by T, user_id t, configuration T
    ];
    CONNECT_LINKS = "connect_links", 1: [
        id T, secret_hash B, connector T, account t, auth t, scopes T, params T, user_id t, mode T, display T,
        return_to t, is_guarded F, created_at I, expires_at I, uses_left I, revoked_at i
    ];
    SIGN_INS = "sign_ins", 1: [
        id T, state_hash b, connector T, account T, details t, poll_interval_secs i, polled_at I, user_id t,
        link_id t, return_to t, created_at I, expires_at I, taken_at i, result t, ended_at i
    ];
    SANDBOX_STATE = "sandbox_state", 1: [key T, value T];
    WEBHOOKS = "webhooks", 1: [connection_id I, path T, public_url t, port i, params T, secrets T];
    EVENTS = "events", 1: [
        id I, connection_id I, delivery_id T, has_delivery_id F, digest B, signed_digest b, verification T, kind T,
        account t, resource t, actor t, occurred_at i, received_at I, headers T, query T, body b, batch_event_id i,
        batch_item t, status T, attempts I, completed_handlers I, due_at i, last_error t
    ];
    EVENT_CONFLICTS = "event_conflicts", 1: [
        id I, event_id I, received_at I, digest B, signed_digest b, verification T, kind T, account t, resource t,
        actor t, occurred_at i, headers T, query T, body B, batch_item t
    ];
    EVENT_ATTEMPTS = "event_attempts", 2: [
        event_id I, number I, attempt I, handler T, started_at I, duration_ms I, status i, error t, output b
    ];
    SUBSCRIPTIONS = "subscriptions", 1: [
        id I, connection_id I, status T, url T, events T, params T, idempotency_key T, metadata T, secret t,
        created_at I, renewed_at I, expires_at i, failures I, last_failed_at i, last_error t
    ];
    BINDINGS = "bindings", 1: [
        id I, name T, connector T, account t, stream t, event t, text T, created_at I, changed_at I,
        dropped_failures I
    ];
    LINKS = "links", 1: [
        id I, connection_id I, user_id T, entity_type T, entity_id T, resource T, object_id T, merged_into t,
        created_at I, changed_at I
    ];
    EVENT_CREATIONS = "event_creations", 3: [
        connection_id I, entity_type T, entity_id T, key T, calendar t, starts_at I, ends_at I, created_at I
    ];
    IDEMPOTENCY_KEYS = "idempotency_keys", 2: [
        caller T, key T, digest B, claimed_at I, claimed_until I, request_id T, audit_sequence I, status i,
        content_type t, location t, body b
    ];
    ENTITY_STATES = "entity_states", 2: [
        binding_id I, link_id I, agreed T, ours T, ours_changed_at i, conflicts T, is_deleted F, seen_version I,
        changed_at I
    ];
    ENTITY_WRITES = "entity_writes", 1: [
        id I, binding_id I, connection_id I, user_id T, entity_type T, entity_id T, kind T, link_id i, action T,
        params T, key T, fields T, started_at I
    ];
    EVENT_TYPES = "event_types", 1: [kind T, description T, sample t];
    ENDPOINTS = "endpoints", 1: [
        id T, url T, description t, events T, secrets T, backoff T, max_attempts I, ttl_secs I, timeout_secs I,
        rate_requests i, rate_secs i, disabled_reason t, disabled_at i, failing_since i, last_failed_at i,
        paused_until i, created_at I
    ];
    MESSAGES = "messages", 1: [id T, kind T, body B, created_at I];
    DELIVERIES = "deliveries", 1: [
        id I, message_id T, endpoint_id T, status T, attempts I, due_at i, expires_at I, created_at I, last_error t
    ];
    ATTEMPTS = "attempts", 1: [
        id I, delivery_id I, started_at I, duration_ms I, request_headers T, response_status i, response_body b,
        error t
    ];
    STREAMS = "streams", 1: [id I, connection_id I, name T, params T];
    PARTITIONS = "partitions", 1: [
        id I, stream_id I, params T, cursor t, checkpoint t, backfill_checkpoint t, synced_at i
    ];
    CURSOR_HISTORY = "cursor_history", 1: [id I, partition_id I, cursor t, replaced_at I];
    RECORDS = "records", 1: [
        id I, stream_id I, partition_id I, key T, version I, added_version I, first_seen_at I, changed_at I,
        deleted_at i, deleted_cursor t, vendor_updated_at i, vendor_event_id i, json T
    ];
    PARTITION_PARENTS = "partition_parents", 1: [id I, parent_record_id i, parent_version i];
    SEEN_IDS = "seen_ids", 1: [id I, partition_id I, ids B];
    BINDING_FAILURES = "binding_failures", 1: [id I, binding_id I, record_id i, event_id i, reason T, failed_at I];
    JOBS = "jobs", 1: [
        id I, stream_id I, mode T, status T, since t, until t, started_at I, started_by t, ended_at i, resumes_at i,
        added I, changed I, deleted I, unchanged I, requests I, retries I, bytes I, error t, error_code t,
        cancel_requested F
    ];
    SCHEDULES = "schedules", 1: [id I, connection_id I, stream T, rule T, jitter_secs I, next_at I, last_at i];
    LOCKS = "locks", 1: [key T, fence I];
    API_TOKEN_TRUSTS = "api_token_trusts", 1: [
        name T, issuer T, audience T, claims T, scopes T, approve T, lifetime I, created_at I
    ];
    API_TOKEN_TRUST_CONNECTIONS = "api_token_trust_connections", 2: [trust T, connection_id I];
    API_TOKEN_EXCHANGES = "api_token_exchanges", 1: [digest B, accepted_until I];
    API_TOKENS = "api_tokens", 1: [
        id T, name T, user_id t, hash B, previous_hash b, previous_until i, scopes T, is_limited F, tier T,
        is_enabled F, created_at I, rotated_at I, expires_at I, rotate_after i, last_used_at i, approve T, trust t
    ];
    API_TOKEN_PARENTS = "api_token_parents", 1: [id T, parent_id t, root_id T];
    API_TOKEN_CONNECTIONS = "api_token_connections", 2: [token_id T, connection_id I];
    APPROVALS = "approvals", 1: [
        id T, token_id t, operation T, effect T, connection t, digest B, summary T, request T, status T, use_limit T,
        requested_at I, expires_at I, decided_at i, used_at i
    ];
    OPERATORS = "operators", 1: [name T, role T, created_at I];
    DASHBOARD_LINKS = "dashboard_links", 1: [secret_hash B, operator T, expires_at I];
    SESSIONS = "sessions", 1: [secret_hash B, operator T, started_at I, last_seen_at I];
    RATE_REQUESTS = "rate_requests", 2: [token_id T, number I, at I];
    API_USAGE = "api_usage", 4: [token_id T, day T, operation T, outcome T, count I];
    AUDIT_ENTRIES = "audit_entries", 1: [
        sequence I, at I, actor T, actor_id t, operation T, effect T, connection t, user_id t, consent_id t, source t,
        request_id t, detail t, outcome T, error_code t, previous B, hash B, latest_at I
    ];
    AUDIT_STATE = "audit_state", 0: [
        signing_seed B, sequence I, hash B, pruned_sequence i, pruned_hash b, pruned_at i, pruned_signature b
    ];
    CONSENTS = "consents", 1: [
        number I, id T, user_id T, consent_type T, resource_type t, resource_id t, purpose T, policy_version I,
        description t, granted_at I, revoked_at i
    ];
}
