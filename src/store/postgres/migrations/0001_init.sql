-- The schema of workspaces in PostgreSQL. The tables are those of the SQLite store (`sqlite/migrations`), whose comments
-- say what their columns mean; the comments here say what differs.
--
-- - A row belongs to a workspace, and every key begins with it. Statements name the workspace; row-level security is
--   the second barrier.
-- - "Sealed" columns are ciphertext (`seal.rs`); names, times, types, states and counts are in the clear. Digests of
--   contents are keyed: who reads the database can confirm no guess.
-- - Times are Unix seconds unless the SQLite schema says milliseconds. Lists in the clear are JSON.
-- - Ids are taken from a sequence before their row is written, because a sealed value is bound to its row.

CREATE TABLE integ.workspaces (
    workspace_id BIGINT PRIMARY KEY,
    -- Sealed: the key of all keyed hashes. It stays the same when the workspace gets another key, and shows that a key is a wrong one.
    index_key    BYTEA NOT NULL,
    -- The number of the key that seals new values (`rekey.rs`).
    key_number   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    restored_at  BIGINT
);

-- The version of the last commit that changed records, and the id of the last event. A writer locks the row until it
-- commits, so that numbers become visible in their order: a reader that has seen one has missed none before it.
CREATE TABLE integ.counters (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    name         TEXT NOT NULL CHECK (name IN ('records', 'events')),
    value        BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
) WITH (fillfactor = 50);

CREATE SEQUENCE integ.connections_id;
CREATE SEQUENCE integ.health_checks_id;
CREATE SEQUENCE integ.subscriptions_id;
CREATE SEQUENCE integ.event_conflicts_id;
CREATE SEQUENCE integ.bindings_id;
CREATE SEQUENCE integ.binding_failures_id;
CREATE SEQUENCE integ.links_id;
CREATE SEQUENCE integ.entity_writes_id;
CREATE SEQUENCE integ.deliveries_id;
CREATE SEQUENCE integ.attempts_id;
CREATE SEQUENCE integ.streams_id;
CREATE SEQUENCE integ.partitions_id;
CREATE SEQUENCE integ.cursor_history_id;
CREATE SEQUENCE integ.records_id;
CREATE SEQUENCE integ.seen_ids_id;
CREATE SEQUENCE integ.jobs_id;
CREATE SEQUENCE integ.schedules_id;
CREATE SEQUENCE integ.consents_number;

CREATE TABLE integ.connections (
    workspace_id       BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id                 BIGINT NOT NULL,
    connector          TEXT COLLATE "C" NOT NULL,
    account            TEXT COLLATE "C" NOT NULL DEFAULT '',
    mode               TEXT NOT NULL CHECK (mode IN ('live', 'sandbox')),
    auth               TEXT NOT NULL,
    origin             TEXT,
    -- Sealed.
    params             BYTEA NOT NULL,
    metadata           BYTEA NOT NULL,
    account_id         TEXT,
    account_name       TEXT,
    scopes_requested   TEXT NOT NULL,
    scopes_granted     TEXT,
    grant_status       TEXT NOT NULL CHECK (grant_status IN ('active', 'needs_reauth', 'disconnected')),
    -- Sealed.
    status_reason      BYTEA,
    connected_at       BIGINT NOT NULL,
    connected_by       TEXT,
    user_id            TEXT COLLATE "C",
    reveal             TEXT NOT NULL DEFAULT 'allowed' CHECK (reveal IN ('allowed', 'never')),
    checked_at         BIGINT,
    check_passed       BOOLEAN,
    check_unauthorized BOOLEAN NOT NULL DEFAULT FALSE,
    error_count        BIGINT NOT NULL DEFAULT 0,
    -- Sealed.
    last_error         BYTEA,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, connector, account)
);

CREATE TABLE integ.health_checks (
    workspace_id  BIGINT NOT NULL,
    id            BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    outcome       TEXT NOT NULL
        CHECK (outcome IN ('healthy', 'forbidden', 'unchecked', 'needs_reauth', 'temporary', 'failed')),
    duration_ms   BIGINT,
    http_status   BIGINT,
    -- Sealed.
    error         BYTEA,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);
CREATE INDEX health_checks_connection ON integ.health_checks (workspace_id, connection_id, id);

CREATE TABLE integ.alerts (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    kind         TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    began_at     BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, kind, subject)
);

CREATE TABLE integ.grants (
    workspace_id       BIGINT NOT NULL,
    connection_id      BIGINT NOT NULL,
    -- Sealed.
    secrets            BYTEA,
    in_keyring         BOOLEAN NOT NULL DEFAULT FALSE,
    client_id          TEXT,
    issued_at          BIGINT NOT NULL,
    expires_at         BIGINT,
    refresh_expires_at BIGINT,
    refresh_method     TEXT NOT NULL
        CHECK (refresh_method IN ('none', 'refresh_token', 'reusable_refresh_token', 'client_credentials', 'key')),
    generation         BIGINT NOT NULL,
    refresh_started_at BIGINT,
    refresh_generation BIGINT,
    from_backup        BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (workspace_id, connection_id),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE,
    CHECK (secrets IS NOT NULL OR in_keyring)
);

CREATE TABLE integ.apps (
    workspace_id  BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    connector     TEXT COLLATE "C" NOT NULL,
    server        TEXT COLLATE "C" NOT NULL,
    client_id     TEXT NOT NULL,
    -- Sealed.
    client_secret BYTEA,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, connector, server)
);

CREATE TABLE integ.installed_connectors (
    workspace_id  BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    connector     TEXT COLLATE "C" NOT NULL,
    sha256        TEXT NOT NULL,
    -- Sealed: a URL may have a secret.
    source        BYTEA NOT NULL,
    installed_at  BIGINT NOT NULL,
    installed_by  TEXT NOT NULL,
    user_id       TEXT COLLATE "C",
    -- Sealed.
    configuration BYTEA NOT NULL,
    PRIMARY KEY (workspace_id, connector)
);

CREATE TABLE integ.connect_links (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id           TEXT COLLATE "C" NOT NULL,
    secret_hash  BYTEA NOT NULL,
    connector    TEXT NOT NULL,
    account      TEXT,
    auth         TEXT,
    scopes       TEXT NOT NULL,
    -- Sealed.
    params       BYTEA NOT NULL,
    user_id      TEXT COLLATE "C",
    mode         TEXT NOT NULL CHECK (mode IN ('live', 'sandbox')),
    display      TEXT NOT NULL CHECK (display IN ('redirect', 'popup')),
    return_to    TEXT,
    is_guarded   BOOLEAN NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    uses_left    BIGINT NOT NULL CHECK (uses_left >= 0),
    revoked_at   BIGINT,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, secret_hash)
);

CREATE TABLE integ.sign_ins (
    workspace_id       BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id                 TEXT COLLATE "C" NOT NULL,
    state_hash         BYTEA,
    connector          TEXT NOT NULL,
    account            TEXT NOT NULL,
    -- Sealed.
    details            BYTEA,
    poll_interval_secs BIGINT,
    polled_at          BIGINT NOT NULL,
    user_id            TEXT COLLATE "C",
    link_id            TEXT COLLATE "C",
    return_to          TEXT,
    created_at         BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL,
    taken_at           BIGINT,
    -- Sealed.
    result             BYTEA,
    ended_at           BIGINT,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, state_hash),
    FOREIGN KEY (workspace_id, link_id) REFERENCES integ.connect_links ON DELETE CASCADE
);
CREATE INDEX sign_ins_link ON integ.sign_ins (workspace_id, link_id) WHERE link_id IS NOT NULL;

CREATE TABLE integ.sandbox_state (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    key          TEXT COLLATE "C" NOT NULL,
    -- Sealed.
    value        BYTEA NOT NULL,
    PRIMARY KEY (workspace_id, key)
);

CREATE TABLE integ.webhooks (
    workspace_id  BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    -- Sealed: who knows the path of a service that signs nothing can send.
    path          BYTEA NOT NULL,
    public_url    BYTEA,
    port          BIGINT,
    -- Sealed; NULL for none.
    params        BYTEA,
    secrets       BYTEA,
    PRIMARY KEY (workspace_id, connection_id),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);

-- The inbox, in a partition for each day. The id says the day: 2026112900000001 is the first of 29 November 2026, and
-- never decreases, whatever the clock does. A day is therefore read, and dropped, without looking into the others. There is
-- no foreign key to the connection: to check it for each event takes a tenth of an insertion, and to remove a connection
-- would read all events. Who inserts or removes has locked the counter of events.
CREATE TABLE integ.events (
    workspace_id       BIGINT NOT NULL,
    id                 BIGINT NOT NULL,
    connection_id      BIGINT NOT NULL,
    -- Sealed: the delivery id, digest, account, resource and actor.
    details            BYTEA NOT NULL,
    has_delivery_id    BOOLEAN NOT NULL DEFAULT TRUE,
    -- Keyed hashes, as in `event_keys`.
    dedup_key          BYTEA NOT NULL,
    signed_dedup_key   BYTEA,
    -- Sealed.
    signed_digest      BYTEA,
    -- A keyed hash; empty for an event that was fetched.
    digest             BYTEA NOT NULL,
    verification       TEXT NOT NULL DEFAULT 'verified'
        CHECK (verification IN ('verified', 'unsigned', 'unconfirmed', 'rejected')),
    kind               TEXT NOT NULL,
    occurred_at        BIGINT,
    received_at        BIGINT NOT NULL,
    -- Sealed: headers and query. NULL once the content is pruned.
    request            BYTEA,
    -- Sealed. Only the first event of a batch has it.
    body               BYTEA,
    batch_event_id     BIGINT,
    -- Sealed.
    batch_item         BYTEA,
    status             TEXT NOT NULL CHECK (status IN ('pending', 'processed', 'failed', 'dead')),
    attempts           BIGINT NOT NULL DEFAULT 0,
    completed_handlers BIGINT NOT NULL DEFAULT 0,
    due_at             BIGINT,
    -- Sealed.
    last_error         BYTEA,
    PRIMARY KEY (workspace_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX events_queued ON integ.events (workspace_id, connection_id, due_at, id)
    WHERE status IN ('pending', 'failed');
CREATE INDEX events_unconfirmed ON integ.events (workspace_id, connection_id, id) WHERE verification = 'unconfirmed';
CREATE INDEX events_prunable ON integ.events (workspace_id, connection_id, received_at)
    WHERE status IN ('processed', 'dead') AND request IS NOT NULL;
CREATE INDEX events_batch ON integ.events (workspace_id, batch_event_id) WHERE batch_event_id IS NOT NULL;
-- Events of a moved workspace, and of a month whose partition was not created in time.
CREATE TABLE integ.events_other PARTITION OF integ.events DEFAULT;

-- Index of the deliveries seen so far. Narrow, and not of the inbox's partitions: a repeated delivery is looked for in
-- one place, whenever the first one came.
CREATE TABLE integ.event_keys (
    workspace_id  BIGINT NOT NULL,
    -- The first 16 bytes of a keyed hash of the connection and the delivery id, or of the signed bytes.
    key           BYTEA NOT NULL,
    event_id      BIGINT NOT NULL,
    -- The key comes first, and is the only index: see `records`.
    PRIMARY KEY (key, workspace_id, event_id)
);

CREATE TABLE integ.event_conflicts (
    workspace_id  BIGINT NOT NULL,
    id            BIGINT NOT NULL,
    event_id      BIGINT NOT NULL,
    received_at   BIGINT NOT NULL,
    digest        BYTEA NOT NULL,
    -- Sealed.
    signed_digest BYTEA,
    verification  TEXT NOT NULL,
    kind          TEXT NOT NULL,
    occurred_at   BIGINT,
    -- Sealed, as in `events`.
    details       BYTEA NOT NULL,
    request       BYTEA NOT NULL,
    body          BYTEA NOT NULL,
    batch_item    BYTEA,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, event_id) REFERENCES integ.events ON DELETE CASCADE
);
CREATE INDEX event_conflicts_event ON integ.event_conflicts (workspace_id, event_id);

CREATE TABLE integ.event_attempts (
    workspace_id BIGINT NOT NULL,
    event_id     BIGINT NOT NULL,
    number       BIGINT NOT NULL,
    attempt      BIGINT NOT NULL,
    handler      TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    duration_ms  BIGINT NOT NULL,
    status       BIGINT,
    -- Sealed.
    error        BYTEA,
    output       BYTEA,
    PRIMARY KEY (workspace_id, event_id, number),
    FOREIGN KEY (workspace_id, event_id) REFERENCES integ.events ON DELETE CASCADE
);

CREATE TABLE integ.subscriptions (
    workspace_id    BIGINT NOT NULL,
    id              BIGINT NOT NULL,
    connection_id   BIGINT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('creating', 'active', 'deleting')),
    -- Sealed: it ends in the path of the webhook.
    url             BYTEA NOT NULL,
    events          TEXT NOT NULL,
    -- Sealed.
    params          BYTEA NOT NULL,
    idempotency_key TEXT NOT NULL,
    -- Sealed; NULL before the vendor has answered.
    metadata        BYTEA,
    secret          BYTEA,
    created_at      BIGINT NOT NULL,
    renewed_at      BIGINT NOT NULL,
    expires_at      BIGINT,
    failures        BIGINT NOT NULL DEFAULT 0,
    last_failed_at  BIGINT,
    -- Sealed.
    last_error      BYTEA,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);
CREATE INDEX subscriptions_connection ON integ.subscriptions (workspace_id, connection_id);

CREATE TABLE integ.bindings (
    workspace_id     BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id               BIGINT NOT NULL,
    name             TEXT COLLATE "C" NOT NULL,
    connector        TEXT NOT NULL,
    account          TEXT,
    stream           TEXT,
    event            TEXT,
    -- Sealed.
    text             BYTEA NOT NULL,
    created_at       BIGINT NOT NULL,
    changed_at       BIGINT NOT NULL,
    dropped_failures BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, name),
    CHECK ((stream IS NULL) <> (event IS NULL))
);

CREATE TABLE integ.links (
    workspace_id  BIGINT NOT NULL,
    id            BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    user_id       TEXT COLLATE "C" NOT NULL DEFAULT '',
    entity_type   TEXT COLLATE "C" NOT NULL,
    entity_id     TEXT COLLATE "C" NOT NULL,
    resource      TEXT COLLATE "C" NOT NULL,
    object_id     TEXT COLLATE "C" NOT NULL,
    merged_into   TEXT,
    created_at    BIGINT NOT NULL,
    changed_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, user_id, entity_type, entity_id, connection_id, resource),
    UNIQUE (workspace_id, connection_id, resource, object_id),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);
CREATE INDEX links_entity ON integ.links (workspace_id, entity_type, entity_id);

CREATE TABLE integ.event_creations (
    workspace_id  BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    entity_type   TEXT COLLATE "C" NOT NULL,
    entity_id     TEXT COLLATE "C" NOT NULL,
    key           TEXT NOT NULL,
    calendar      TEXT,
    starts_at     BIGINT NOT NULL,
    ends_at       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, connection_id, entity_type, entity_id),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);

CREATE TABLE integ.idempotency_keys (
    workspace_id  BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    caller        TEXT COLLATE "C" NOT NULL,
    key           TEXT COLLATE "C" NOT NULL,
    -- A keyed hash, and the digest itself, sealed, for another store.
    digest        BYTEA NOT NULL,
    request_digest BYTEA NOT NULL,
    claimed_at    BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    request_id    TEXT NOT NULL,
    audit_sequence BIGINT NOT NULL,
    status        BIGINT,
    content_type  TEXT,
    -- Sealed.
    location      BYTEA,
    body          BYTEA,
    PRIMARY KEY (workspace_id, caller, key)
);
CREATE INDEX idempotency_keys_claimed ON integ.idempotency_keys (workspace_id, claimed_at);

CREATE TABLE integ.entity_states (
    workspace_id    BIGINT NOT NULL,
    binding_id      BIGINT NOT NULL,
    link_id         BIGINT NOT NULL,
    -- Sealed.
    agreed          BYTEA NOT NULL,
    ours            BYTEA NOT NULL,
    ours_changed_at BIGINT,
    -- Sealed.
    conflicts       BYTEA NOT NULL,
    has_conflicts   BOOLEAN NOT NULL,
    is_deleted      BOOLEAN NOT NULL,
    seen_version    BIGINT NOT NULL,
    changed_at      BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, binding_id, link_id),
    FOREIGN KEY (workspace_id, binding_id) REFERENCES integ.bindings ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, link_id) REFERENCES integ.links ON DELETE CASCADE
);
CREATE INDEX entity_states_link ON integ.entity_states (workspace_id, link_id);
CREATE INDEX entity_states_conflicts ON integ.entity_states (workspace_id, binding_id, link_id) WHERE has_conflicts;

CREATE TABLE integ.entity_writes (
    workspace_id  BIGINT NOT NULL,
    id            BIGINT NOT NULL,
    binding_id    BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    user_id       TEXT COLLATE "C" NOT NULL DEFAULT '',
    entity_type   TEXT NOT NULL,
    entity_id     TEXT NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('create', 'update', 'delete')),
    link_id       BIGINT,
    action        TEXT NOT NULL,
    -- Sealed.
    params        BYTEA NOT NULL,
    key           TEXT NOT NULL,
    -- Sealed.
    fields        BYTEA NOT NULL,
    started_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, binding_id, connection_id, user_id, entity_type, entity_id),
    FOREIGN KEY (workspace_id, binding_id) REFERENCES integ.bindings ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, link_id) REFERENCES integ.links ON DELETE CASCADE
);
CREATE INDEX entity_writes_link ON integ.entity_writes (workspace_id, link_id) WHERE link_id IS NOT NULL;
CREATE INDEX entity_writes_connection ON integ.entity_writes (workspace_id, connection_id);

CREATE TABLE integ.event_types (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    kind         TEXT COLLATE "C" NOT NULL,
    description  TEXT NOT NULL,
    -- Sealed.
    sample       BYTEA,
    PRIMARY KEY (workspace_id, kind)
);

CREATE TABLE integ.endpoints (
    workspace_id    BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id              TEXT COLLATE "C" NOT NULL,
    -- Sealed: receivers put secrets into URLs.
    url             BYTEA NOT NULL,
    description     TEXT,
    events          TEXT NOT NULL,
    -- Sealed.
    secrets         BYTEA NOT NULL,
    backoff         TEXT NOT NULL CHECK (backoff IN ('exponential', 'linear', 'none')),
    max_attempts    BIGINT NOT NULL,
    ttl_secs        BIGINT NOT NULL,
    timeout_secs    BIGINT NOT NULL,
    rate_requests   BIGINT,
    rate_secs       BIGINT,
    disabled_reason TEXT CHECK (disabled_reason IN ('user', 'gone', 'failing')),
    disabled_at     BIGINT,
    failing_since   BIGINT,
    last_failed_at  BIGINT,
    paused_until    BIGINT,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id)
);

CREATE TABLE integ.messages (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id           TEXT COLLATE "C" NOT NULL,
    kind         TEXT NOT NULL,
    -- Sealed.
    body         BYTEA NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX messages_created ON integ.messages (workspace_id, created_at);

CREATE TABLE integ.deliveries (
    workspace_id BIGINT NOT NULL,
    id           BIGINT NOT NULL,
    message_id   TEXT COLLATE "C" NOT NULL,
    endpoint_id  TEXT COLLATE "C" NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('pending', 'failed', 'delivered', 'dead')),
    attempts     BIGINT NOT NULL DEFAULT 0,
    due_at       BIGINT,
    expires_at   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    -- Sealed.
    last_error   BYTEA,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, message_id, endpoint_id),
    FOREIGN KEY (workspace_id, message_id) REFERENCES integ.messages ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, endpoint_id) REFERENCES integ.endpoints ON DELETE CASCADE
);
CREATE INDEX deliveries_due ON integ.deliveries (workspace_id, endpoint_id, due_at) WHERE status IN ('pending', 'failed');
CREATE INDEX deliveries_endpoint ON integ.deliveries (workspace_id, endpoint_id, created_at);

CREATE TABLE integ.attempts (
    workspace_id    BIGINT NOT NULL,
    id              BIGINT NOT NULL,
    delivery_id     BIGINT NOT NULL,
    started_at      BIGINT NOT NULL,
    duration_ms     BIGINT NOT NULL,
    -- Sealed.
    request_headers BYTEA NOT NULL,
    response_status BIGINT,
    -- Sealed.
    response_body   BYTEA,
    error           BYTEA,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, delivery_id) REFERENCES integ.deliveries ON DELETE CASCADE
);
CREATE INDEX attempts_delivery ON integ.attempts (workspace_id, delivery_id);

CREATE TABLE integ.streams (
    workspace_id  BIGINT NOT NULL,
    id            BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    -- Sealed; NULL for none.
    params        BYTEA,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, connection_id, name),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);

CREATE TABLE integ.partitions (
    workspace_id        BIGINT NOT NULL,
    id                  BIGINT NOT NULL,
    stream_id           BIGINT NOT NULL,
    -- A keyed hash, by which a partition is found, and the values, sealed.
    params_hash         BYTEA NOT NULL,
    params              BYTEA NOT NULL,
    parent_record_id    BIGINT,
    parent_version      BIGINT,
    -- Sealed.
    cursor              BYTEA,
    checkpoint          BYTEA,
    backfill_checkpoint BYTEA,
    synced_at           BIGINT,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, stream_id, params_hash),
    FOREIGN KEY (workspace_id, stream_id) REFERENCES integ.streams ON DELETE CASCADE
);
CREATE INDEX partitions_parent ON integ.partitions (workspace_id, parent_record_id);

CREATE TABLE integ.cursor_history (
    workspace_id BIGINT NOT NULL,
    id           BIGINT NOT NULL,
    partition_id BIGINT NOT NULL,
    -- Sealed.
    cursor       BYTEA,
    replaced_at  BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, partition_id) REFERENCES integ.partitions ON DELETE CASCADE
);
CREATE INDEX cursor_history_partition ON integ.cursor_history (workspace_id, partition_id);

CREATE TABLE integ.records (
    workspace_id      BIGINT NOT NULL,
    id                BIGINT NOT NULL,
    stream_id         BIGINT NOT NULL,
    partition_id      BIGINT NOT NULL,
    -- A keyed hash of the record's key, which is in the sealed body: keys may be addresses of people.
    key_hash          BYTEA NOT NULL,
    -- Keyed (`RecordHasher`).
    hash              BYTEA NOT NULL,
    -- Sealed: the key and the JSON.
    body              BYTEA NOT NULL,
    version           BIGINT NOT NULL,
    added_version     BIGINT NOT NULL,
    first_seen_at     BIGINT NOT NULL,
    changed_at        BIGINT NOT NULL,
    deleted_at        BIGINT,
    -- Sealed.
    deleted_cursor    BYTEA,
    vendor_updated_at BIGINT,
    vendor_event_id   BIGINT,
    PRIMARY KEY (workspace_id, id),
    -- Records are looked for by the hash alone, and then asked for their workspace with IS NOT DISTINCT FROM, for which no
    -- index is used. Otherwise a planner without statistics of a workspace takes it for small, and reads all of it.
    UNIQUE (key_hash, workspace_id)
    -- Without a foreign key to the partition, which the server would check for each record. A writer locks the counter of
    -- records before it inserts records or deletes a partition.
);
CREATE INDEX records_version ON integ.records (workspace_id, stream_id, version, id);
CREATE INDEX records_partition ON integ.records (workspace_id, partition_id, version, deleted_at);
CREATE INDEX records_stream ON integ.records (workspace_id, stream_id, id);

ALTER TABLE integ.partitions ADD FOREIGN KEY (workspace_id, parent_record_id) REFERENCES integ.records
    ON DELETE SET NULL (parent_record_id);

CREATE TABLE integ.seen_ids (
    workspace_id BIGINT NOT NULL,
    id           BIGINT NOT NULL,
    partition_id BIGINT NOT NULL,
    ids          BYTEA NOT NULL,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, partition_id) REFERENCES integ.partitions ON DELETE CASCADE
);
CREATE INDEX seen_ids_partition ON integ.seen_ids (workspace_id, partition_id);

CREATE TABLE integ.binding_failures (
    workspace_id BIGINT NOT NULL,
    id           BIGINT NOT NULL,
    binding_id   BIGINT NOT NULL,
    record_id    BIGINT,
    event_id     BIGINT,
    -- Sealed.
    reason       BYTEA NOT NULL,
    failed_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, binding_id, record_id),
    UNIQUE (workspace_id, binding_id, event_id),
    FOREIGN KEY (workspace_id, binding_id) REFERENCES integ.bindings ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, record_id) REFERENCES integ.records ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, event_id) REFERENCES integ.events ON DELETE CASCADE,
    CHECK ((record_id IS NULL) <> (event_id IS NULL))
);
CREATE INDEX binding_failures_record ON integ.binding_failures (workspace_id, record_id) WHERE record_id IS NOT NULL;
CREATE INDEX binding_failures_event ON integ.binding_failures (workspace_id, event_id) WHERE event_id IS NOT NULL;

CREATE TABLE integ.jobs (
    workspace_id     BIGINT NOT NULL,
    id               BIGINT NOT NULL,
    stream_id        BIGINT NOT NULL,
    mode             TEXT NOT NULL CHECK (mode IN ('incremental', 'full', 'backfill')),
    status           TEXT NOT NULL
        CHECK (status IN ('running', 'done', 'skipped', 'failed', 'rate_limited', 'cancelled')),
    since            TEXT,
    until            TEXT,
    started_at       BIGINT NOT NULL,
    started_by       TEXT,
    ended_at         BIGINT,
    resumes_at       BIGINT,
    added            BIGINT NOT NULL DEFAULT 0,
    changed          BIGINT NOT NULL DEFAULT 0,
    deleted          BIGINT NOT NULL DEFAULT 0,
    unchanged        BIGINT NOT NULL DEFAULT 0,
    requests         BIGINT NOT NULL DEFAULT 0,
    retries          BIGINT NOT NULL DEFAULT 0,
    bytes            BIGINT NOT NULL DEFAULT 0,
    -- Sealed.
    error            BYTEA,
    error_code       TEXT,
    cancel_requested BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, stream_id) REFERENCES integ.streams ON DELETE CASCADE
);
CREATE INDEX jobs_stream ON integ.jobs (workspace_id, stream_id, id);

CREATE TABLE integ.schedules (
    workspace_id  BIGINT NOT NULL,
    id            BIGINT NOT NULL,
    connection_id BIGINT NOT NULL,
    stream        TEXT NOT NULL DEFAULT '',
    rule          TEXT NOT NULL,
    jitter_secs   BIGINT NOT NULL DEFAULT 0,
    next_at       BIGINT NOT NULL,
    last_at       BIGINT,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, connection_id, stream),
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);

-- Leases. Unlike SQLite's, a row alone says whether a lock is held, by this server's clock: in milliseconds.
CREATE TABLE integ.locks (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    key          TEXT COLLATE "C" NOT NULL,
    -- Empty once it is released.
    holder       TEXT NOT NULL,
    fence        BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, key)
) WITH (fillfactor = 50);

CREATE TABLE integ.api_token_trusts (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    name         TEXT COLLATE "C" NOT NULL,
    issuer       TEXT NOT NULL,
    audience     TEXT NOT NULL,
    claims       TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    approve      TEXT NOT NULL CHECK (approve IN ('none', 'destroy', 'write')),
    lifetime     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

CREATE TABLE integ.api_token_trust_connections (
    workspace_id  BIGINT NOT NULL,
    trust         TEXT COLLATE "C" NOT NULL,
    connection_id BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, trust, connection_id),
    FOREIGN KEY (workspace_id, trust) REFERENCES integ.api_token_trusts ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);
CREATE INDEX api_token_trust_connections_connection ON integ.api_token_trust_connections (workspace_id, connection_id);

CREATE TABLE integ.api_token_exchanges (
    workspace_id   BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    digest         BYTEA NOT NULL,
    accepted_until BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, digest)
);

CREATE TABLE integ.api_tokens (
    workspace_id   BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id             TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C",
    hash           BYTEA NOT NULL,
    previous_hash  BYTEA,
    previous_until BIGINT,
    scopes         TEXT NOT NULL,
    is_limited     BOOLEAN NOT NULL,
    tier           TEXT NOT NULL CHECK (tier IN ('free', 'pro', 'enterprise')),
    parent_id      TEXT COLLATE "C",
    root_id        TEXT COLLATE "C" NOT NULL,
    is_enabled     BOOLEAN NOT NULL,
    created_at     BIGINT NOT NULL,
    rotated_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    rotate_after   BIGINT,
    last_used_at   BIGINT,
    approve        TEXT NOT NULL DEFAULT 'none' CHECK (approve IN ('none', 'destroy', 'write')),
    trust          TEXT COLLATE "C",
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, name),
    UNIQUE (workspace_id, hash),
    UNIQUE (workspace_id, previous_hash),
    FOREIGN KEY (workspace_id, parent_id) REFERENCES integ.api_tokens ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, root_id) REFERENCES integ.api_tokens ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, trust) REFERENCES integ.api_token_trusts ON DELETE CASCADE,
    CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
);
CREATE INDEX api_tokens_parent ON integ.api_tokens (workspace_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX api_tokens_root ON integ.api_tokens (workspace_id, root_id);
CREATE INDEX api_tokens_trust ON integ.api_tokens (workspace_id, trust) WHERE trust IS NOT NULL;

CREATE TABLE integ.api_token_connections (
    workspace_id  BIGINT NOT NULL,
    token_id      TEXT COLLATE "C" NOT NULL,
    connection_id BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, token_id, connection_id),
    FOREIGN KEY (workspace_id, token_id) REFERENCES integ.api_tokens ON DELETE CASCADE,
    FOREIGN KEY (workspace_id, connection_id) REFERENCES integ.connections ON DELETE CASCADE
);
CREATE INDEX api_token_connections_connection ON integ.api_token_connections (workspace_id, connection_id);

CREATE FUNCTION integ.disable_unconnected_token() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    UPDATE integ.api_tokens SET is_enabled = FALSE
        WHERE workspace_id = old.workspace_id AND id = old.token_id AND is_limited
        AND NOT EXISTS (SELECT 1 FROM integ.api_token_connections c
            WHERE c.workspace_id = old.workspace_id AND c.token_id = old.token_id);
    RETURN NULL;
END $$;
CREATE TRIGGER api_token_connections_deleted AFTER DELETE ON integ.api_token_connections
    FOR EACH ROW EXECUTE FUNCTION integ.disable_unconnected_token();

CREATE TABLE integ.approvals (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id           TEXT COLLATE "C" NOT NULL,
    token_id     TEXT COLLATE "C",
    operation    TEXT NOT NULL,
    effect       TEXT NOT NULL CHECK (effect IN ('read', 'write', 'destroy')),
    connection   TEXT,
    -- A keyed hash of the request's digest, which is itself sealed with it.
    digest       BYTEA NOT NULL,
    -- Sealed.
    summary      BYTEA NOT NULL,
    request      BYTEA NOT NULL,
    request_digest BYTEA NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('pending', 'granted', 'denied', 'used', 'expired')),
    use_limit    TEXT NOT NULL CHECK (use_limit IN ('once', 'repeated')),
    requested_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    decided_at   BIGINT,
    used_at      BIGINT,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, token_id) REFERENCES integ.api_tokens ON DELETE CASCADE
);
CREATE UNIQUE INDEX approvals_open ON integ.approvals (workspace_id, coalesce(token_id, ''), digest)
    WHERE status IN ('pending', 'granted', 'denied');
CREATE INDEX approvals_requested ON integ.approvals (workspace_id, requested_at, id);

CREATE TABLE integ.operators (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    name         TEXT COLLATE "C" NOT NULL,
    role         TEXT NOT NULL CHECK (role IN ('viewer', 'editor', 'approver')),
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

-- Only SHA-256 of the secret part is stored, as for sessions: it is random and long.
CREATE TABLE integ.dashboard_links (
    workspace_id BIGINT NOT NULL,
    secret_hash  BYTEA NOT NULL,
    operator     TEXT COLLATE "C" NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, secret_hash),
    FOREIGN KEY (workspace_id, operator) REFERENCES integ.operators ON DELETE CASCADE
);
CREATE INDEX dashboard_links_operator ON integ.dashboard_links (workspace_id, operator);

CREATE TABLE integ.sessions (
    workspace_id BIGINT NOT NULL,
    secret_hash  BYTEA NOT NULL,
    operator     TEXT COLLATE "C" NOT NULL,
    started_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, secret_hash),
    FOREIGN KEY (workspace_id, operator) REFERENCES integ.operators ON DELETE CASCADE
);
CREATE INDEX sessions_operator ON integ.sessions (workspace_id, operator);

CREATE TABLE integ.rate_requests (
    workspace_id BIGINT NOT NULL,
    token_id     TEXT COLLATE "C" NOT NULL,
    number       BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, token_id, number),
    FOREIGN KEY (workspace_id, token_id) REFERENCES integ.api_tokens ON DELETE CASCADE
);

CREATE TABLE integ.api_usage (
    workspace_id BIGINT NOT NULL,
    token_id     TEXT COLLATE "C" NOT NULL,
    day          TEXT COLLATE "C" NOT NULL,
    operation    TEXT COLLATE "C" NOT NULL,
    outcome      TEXT COLLATE "C" NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'denied', 'rate_limited')),
    count        BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, token_id, day, operation, outcome),
    FOREIGN KEY (workspace_id, token_id) REFERENCES integ.api_tokens ON DELETE CASCADE
);

CREATE TABLE integ.audit_entries (
    workspace_id BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    sequence     BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    actor        TEXT NOT NULL CHECK (actor IN ('local', 'api_token', 'operator', 'worker')),
    actor_id     TEXT,
    operation    TEXT NOT NULL,
    effect       TEXT NOT NULL CHECK (effect IN ('read', 'write', 'destroy')),
    connection   TEXT,
    user_id      TEXT,
    consent_id   TEXT,
    source       TEXT,
    request_id   TEXT,
    detail       TEXT,
    outcome      TEXT NOT NULL CHECK (outcome IN ('started', 'done', 'refused', 'failed')),
    error_code   TEXT,
    previous     BYTEA NOT NULL,
    hash         BYTEA NOT NULL,
    latest_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, sequence)
);
CREATE INDEX audit_entries_connection ON integ.audit_entries (workspace_id, connection, sequence)
    WHERE connection IS NOT NULL;
CREATE INDEX audit_entries_user ON integ.audit_entries (workspace_id, user_id, sequence) WHERE user_id IS NOT NULL;
CREATE INDEX audit_entries_actor ON integ.audit_entries (workspace_id, actor, sequence);
CREATE INDEX audit_entries_actor_id ON integ.audit_entries (workspace_id, actor_id, sequence) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_entries_operation ON integ.audit_entries (workspace_id, operation, sequence);
CREATE INDEX audit_entries_latest ON integ.audit_entries (workspace_id, latest_at, sequence);

CREATE TABLE integ.audit_state (
    workspace_id     BIGINT PRIMARY KEY REFERENCES integ.workspaces ON DELETE CASCADE,
    -- Sealed.
    signing_seed     BYTEA NOT NULL,
    sequence         BIGINT NOT NULL DEFAULT 0,
    hash             BYTEA NOT NULL,
    pruned_sequence  BIGINT,
    pruned_hash      BYTEA,
    pruned_at        BIGINT,
    pruned_signature BYTEA
);

CREATE TABLE integ.consents (
    workspace_id   BIGINT NOT NULL REFERENCES integ.workspaces ON DELETE CASCADE,
    id             TEXT COLLATE "C" NOT NULL,
    -- The order in which they were granted.
    number         BIGINT NOT NULL DEFAULT nextval('integ.consents_number'),
    user_id        TEXT COLLATE "C" NOT NULL,
    consent_type   TEXT NOT NULL CHECK (consent_type IN ('third_party', 'data_sharing', 'data_processing', 'marketing')),
    resource_type  TEXT,
    resource_id    TEXT,
    purpose        TEXT NOT NULL,
    policy_version BIGINT NOT NULL,
    description    TEXT,
    granted_at     BIGINT NOT NULL,
    revoked_at     BIGINT,
    PRIMARY KEY (workspace_id, id),
    UNIQUE (workspace_id, number),
    CHECK ((resource_type IS NULL) = (resource_id IS NULL))
);
CREATE INDEX consents_user ON integ.consents (workspace_id, user_id);

-- The first id of a day's events.
CREATE FUNCTION integ.first_event_of(day DATE) RETURNS BIGINT LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT to_char(day, 'YYYYMMDD')::bigint * 100000000
$$;

-- Creates the partitions of so many months from this one, and returns how many. Nodes may call it although they own no table.
-- A month whose events lie in the default partition already gets none. Months, because a statement that names no id looks at
-- each partition that is kept.
CREATE FUNCTION integ.create_event_partitions(months INTEGER) RETURNS INTEGER
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    this_month DATE := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
    month DATE;
    name TEXT;
    created INTEGER := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('integ'), hashtext('partitions'));
    FOR month IN SELECT this_month + n * interval '1 month' FROM generate_series(0, least(months, 3) - 1) n LOOP
        name := 'events_' || to_char(month, 'YYYYMM');
        IF to_regclass('integ.' || name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE integ.%I PARTITION OF integ.events FOR VALUES FROM (%s) TO (%s)', name,
                    integ.first_event_of(month), integ.first_event_of((month + interval '1 month')::date));
                created := created + 1;
            EXCEPTION WHEN check_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    RETURN created;
END $$;

-- Inserts new events with their keys and moves the counter of events on. A function, because the server keeps the plans of its
-- statements in a session: to parse and plan them takes longer than to run them. Returns the server's time in Unix milliseconds.
--
-- Where it is only predicted what is stored, this is the whole transaction, and nothing is inserted, and NULL returned, unless
-- the last event and the number of the key that seals are as expected, no event has one of the keys, and all connections are
-- there. Each statement sees what was committed before it; the locks therefore come first, as in other insertions.
CREATE FUNCTION integ.insert_events(workspace BIGINT, is_predicted BOOLEAN, expected_last BIGINT, new_last BIGINT,
    expected_key BIGINT, ids BIGINT[], connections BIGINT[], new_details BYTEA[], have_delivery_id BOOLEAN[], keys BYTEA[],
    signed_keys BYTEA[], digests BYTEA[], verifications TEXT[], kinds TEXT[], occurred BIGINT[], received BIGINT[],
    requests BYTEA[], bodies BYTEA[], firsts BIGINT[], batch_items BYTEA[], statuses TEXT[], signed_digests BYTEA[])
    RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    last BIGINT;
BEGIN
    IF is_predicted THEN
        -- As other transactions begin.
        PERFORM set_config('integ.workspace', workspace::text, TRUE), set_config('synchronous_commit', 'on', TRUE),
            set_config('enable_seqscan', 'off', TRUE), set_config('lock_timeout', '15s', TRUE),
            pg_advisory_xact_lock_shared(hashtext('integ: key'), hashtext(workspace::text));
        SELECT greatest(c.value, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')::bigint * 100000000) INTO last
            FROM integ.counters c WHERE c.workspace_id = workspace AND c.name = 'events' FOR UPDATE;
        IF last IS DISTINCT FROM expected_last
            OR NOT EXISTS (SELECT 1 FROM integ.workspaces w WHERE w.workspace_id = workspace AND w.key_number = expected_key)
            OR EXISTS (SELECT 1 FROM integ.event_keys k
                WHERE k.key = ANY(keys || signed_keys) AND k.workspace_id IS NOT DISTINCT FROM workspace)
            OR EXISTS (SELECT 1 FROM unnest(connections) n (id)
                WHERE NOT EXISTS (SELECT 1 FROM integ.connections c WHERE c.workspace_id = workspace AND c.id = n.id)) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE integ.counters c SET value = new_last WHERE c.workspace_id = workspace AND c.name = 'events';
    INSERT INTO integ.events (workspace_id, id, connection_id, details, has_delivery_id, dedup_key, signed_dedup_key, digest,
            verification, kind, occurred_at, received_at, request, body, batch_event_id, batch_item, status, signed_digest)
        SELECT workspace, n.* FROM unnest(ids, connections, new_details, have_delivery_id, keys, signed_keys, digests,
            verifications, kinds, occurred, received, requests, bodies, firsts, batch_items, statuses, signed_digests) n;
    INSERT INTO integ.event_keys (workspace_id, key, event_id)
        SELECT workspace, k.key, n.id FROM unnest(ids, keys, signed_keys) n (id, key, signed_key),
            unnest(ARRAY[n.key, n.signed_key]) k (key) WHERE k.key IS NOT NULL;
    RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
END $$;

-- Reads an event with the request that it came in. A function for the same reason, and with one plan for all events: the planner
-- cannot know which partition has the first event of the request.
CREATE FUNCTION integ.event_with_request(workspace BIGINT, event BIGINT)
    RETURNS TABLE (id BIGINT, connector TEXT, account TEXT, kind TEXT, details BYTEA, occurred_at BIGINT, received_at BIGINT,
        status TEXT, attempts BIGINT, last_error BYTEA, verification TEXT, conflict_count BIGINT, request BYTEA, batch_item BYTEA,
        body BYTEA, body_id BIGINT)
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT e.id, c.connector, c.account, e.kind, e.details, e.occurred_at, e.received_at, e.status, e.attempts,
            e.last_error, e.verification,
            (SELECT count(*) FROM integ.event_conflicts x WHERE x.workspace_id = workspace AND x.event_id = e.id),
            e.request, e.batch_item,
            coalesce(e.body, (SELECT f.body FROM integ.events f WHERE f.workspace_id = workspace AND f.id = e.batch_event_id)),
            CASE WHEN e.body IS NULL THEN e.batch_event_id ELSE e.id END
        FROM integ.events e JOIN integ.connections c ON c.workspace_id = workspace AND c.id = e.connection_id
        WHERE e.workspace_id = workspace AND e.id = event;
END $$;

-- Records attempts to handle events, and returns for each event how many runs of handlers are stored. A function as before.
CREATE FUNCTION integ.end_attempts(workspace BIGINT, ids BIGINT[], statuses TEXT[], due BIGINT[], errors BYTEA[],
    handlers BIGINT[])
    RETURNS TABLE (id BIGINT, last_run BIGINT) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    FOR i IN 1 .. cardinality(ids) LOOP
        RETURN QUERY UPDATE integ.events e
            SET status = statuses[i], due_at = due[i], last_error = errors[i], completed_handlers = handlers[i],
                attempts = e.attempts + 1
            WHERE e.workspace_id = workspace AND e.id = ids[i]
            RETURNING e.id, (SELECT coalesce(max(a.number), 0) FROM integ.event_attempts a
                WHERE a.workspace_id = workspace AND a.event_id = e.id);
    END LOOP;
END $$;

-- Reads the events of a connection that are to be handled, at most so many of each kind, and when the next one is: `new` ones,
-- a `retry` whose time has come or is later than any wait lasts, and of the one that is `next` only the time. A function as
-- before. Its plans must not be made for the number of rows that the planner expects: they follow the index and stop.
CREATE FUNCTION integ.due_events(workspace BIGINT, connection BIGINT, now BIGINT, latest BIGINT, most BIGINT)
    RETURNS TABLE (kind TEXT, id BIGINT, due_at BIGINT, attempts BIGINT, completed_handlers BIGINT, verification TEXT)
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_sort = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY SELECT 'new', e.id, e.due_at, e.attempts, e.completed_handlers, e.verification FROM integ.events e
        WHERE e.workspace_id = workspace AND e.connection_id = connection AND e.status IN ('pending', 'failed')
            AND e.verification IN ('verified', 'unsigned') AND e.due_at IS NULL
        ORDER BY e.due_at, e.id LIMIT most;
    RETURN QUERY SELECT 'retry', e.id, e.due_at, e.attempts, e.completed_handlers, e.verification FROM integ.events e
        WHERE e.workspace_id = workspace AND e.connection_id = connection AND e.status IN ('pending', 'failed')
            AND e.verification IN ('verified', 'unsigned') AND e.due_at <= now
        ORDER BY e.due_at, e.id LIMIT most;
    RETURN QUERY SELECT 'retry', e.id, e.due_at, e.attempts, e.completed_handlers, e.verification FROM integ.events e
        WHERE e.workspace_id = workspace AND e.connection_id = connection AND e.status IN ('pending', 'failed')
            AND e.verification IN ('verified', 'unsigned') AND e.due_at > latest
        ORDER BY e.due_at, e.id LIMIT most;
    RETURN QUERY SELECT 'next', NULL::bigint, min(e.due_at), NULL::bigint, NULL::bigint, NULL FROM integ.events e
        WHERE e.workspace_id = workspace AND e.connection_id = connection AND e.status IN ('pending', 'failed')
            AND e.due_at > now;
END $$;

-- Drops the partitions of months before yesterday's in which nothing is left, and returns how many.
CREATE FUNCTION integ.drop_empty_event_partitions() RETURNS INTEGER
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    last TEXT := 'events_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date - 1, 'YYYYMM');
    name TEXT;
    is_used BOOLEAN;
    dropped INTEGER := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('integ'), hashtext('partitions'));
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'integ.events'::regclass AND c.relname ~ '^events_\d{6}$' AND c.relname < last LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM integ.%I)', name) INTO is_used;
        IF NOT is_used THEN
            EXECUTE format('ALTER TABLE integ.events DETACH PARTITION integ.%I', name);
            EXECUTE format('DROP TABLE integ.%I', name);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END $$;

-- Lets a sequence go on after a number, for ids that another store has given out. No id may be taken from it meanwhile: changing
-- it locks it.
CREATE FUNCTION integ.raise_sequence(name TEXT, last BIGINT) RETURNS VOID
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    current_value BIGINT;
BEGIN
    IF last NOT BETWEEN 1 AND 9007199254740992 THEN
        RAISE EXCEPTION 'an id is out of range' USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    EXECUTE format('ALTER SEQUENCE integ.%I NO CYCLE', name);
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM integ.%I', name) INTO current_value;
    IF current_value < last THEN
        PERFORM setval(format('integ.%I', name)::regclass, last);
    END IF;
END $$;

-- What is sealed cannot be compressed, and is not tried.
DO $$
DECLARE
    found RECORD;
BEGIN
    FOR found IN SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'integ'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND a.atttypid = 'bytea'::regtype LOOP
        EXECUTE format('ALTER TABLE integ.%I ALTER COLUMN %I SET STORAGE EXTERNAL', found.relname, found.attname);
    END LOOP;
END $$;

-- The second barrier: a transaction sees and writes the rows of the workspace that it has named, and none without. FORCE
-- holds the owner of the tables to it as well.
DO $$
DECLARE
    name TEXT;
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'integ'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'workspace_id' LOOP
        EXECUTE format('ALTER TABLE integ.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE integ.%I FORCE ROW LEVEL SECURITY', name);
        -- Not `=`, which would make the planner choose an index by the workspace where the statement means another.
        EXECUTE format('CREATE POLICY workspace ON integ.%I USING (workspace_id IS NOT DISTINCT FROM '
            || 'nullif(current_setting(''integ.workspace'', TRUE), '''')::bigint)', name);
    END LOOP;
END $$;

-- What nodes may do: read and write rows through the tables, and create and drop partitions through the functions.
-- A login role of a node is made a member of `integ_node`.
DO $$
BEGIN
    CREATE ROLE integ_node NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN
    NULL;
END $$;
DO $$
DECLARE
    name TEXT;
BEGIN
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA integ FROM PUBLIC;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'integ_node') THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA integ TO integ_node;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA integ TO integ_node;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA integ TO integ_node;
    -- The partitions themselves are reached through `events` alone.
    FOR name IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'integ'::regnamespace
        AND c.relkind IN ('r', 'p') AND NOT c.relispartition LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON integ.%I TO integ_node', name);
    END LOOP;
    REVOKE INSERT, UPDATE, DELETE ON integ.schema_versions FROM integ_node;
END $$;
