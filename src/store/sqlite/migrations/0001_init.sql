-- Times are Unix seconds unless a comment says milliseconds. Lists and maps are JSON. Every table is STRICT, so that a damaged type is an error.

-- The one row of facts about the store itself.
CREATE TABLE meta (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- Names this store's entries in the OS keyring; a restored store gets a new one.
    vault_id    TEXT NOT NULL,
    -- Counts committed writes, so that lost ones are noticed.
    sequence    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    -- When the store was made from a backup.
    restored_at INTEGER,
    -- The id of the last event that `event_keys` has; later ones are not in it yet.
    dedup_indexed_to    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE connections (
    -- Never used again, so that what hung on a removed connection cannot be taken for another's.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    connector      TEXT NOT NULL,
    -- The part of the name after '@'; empty for an unnamed account, so that UNIQUE holds.
    account        TEXT NOT NULL DEFAULT '',
    mode           TEXT NOT NULL CHECK (mode IN ('live', 'sandbox')),
    auth           TEXT NOT NULL,
    origin         TEXT,
    params         TEXT NOT NULL,
    metadata           TEXT NOT NULL,
    account_id      TEXT,
    account_name    TEXT,
    scopes_requested   TEXT NOT NULL,
    -- NULL where the vendor does not say.
    scopes_granted TEXT,
    grant_status       TEXT NOT NULL CHECK (grant_status IN ('active', 'needs_reauth', 'disconnected')),
    status_reason         TEXT,
    connected_at   INTEGER NOT NULL,
    checked_at     INTEGER,
    check_passed        INTEGER CHECK (check_passed IN (0, 1)),
    error_count    INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT,
    -- 1 if the vendor refused the grant at the last check that got an answer, so that hooks are notified only once.
    check_unauthorized        INTEGER NOT NULL DEFAULT 0 CHECK (check_unauthorized IN (0, 1)),
    UNIQUE (connector, account)
) STRICT;

CREATE TABLE grants (
    connection_id        INTEGER PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    -- JSON; NULL while the secrets are in the OS keyring.
    secrets              TEXT,
    -- 1 where the OS keyring may hold an entry: set before one is written, cleared after it is deleted.
    in_keyring              INTEGER NOT NULL DEFAULT 0 CHECK (in_keyring IN (0, 1)),
    client_id            TEXT,
    issued_at            INTEGER NOT NULL,
    expires_at           INTEGER,
    refresh_expires_at   INTEGER,
    refresh_method              TEXT NOT NULL
        CHECK (refresh_method IN ('none', 'refresh_token', 'reusable_refresh_token', 'client_credentials')),
    -- Grows with every new grant; whoever writes one names the generation that it replaces.
    generation           INTEGER NOT NULL,
    -- The grant of this generation was shown to the vendor and no answer is stored.
    refresh_started_at         INTEGER,
    refresh_generation INTEGER,
    -- 1 where the grant came from a backup and may have been used up since.
    from_backup             INTEGER NOT NULL DEFAULT 0 CHECK (from_backup IN (0, 1)),
    CHECK (secrets IS NOT NULL OR in_keyring = 1)
) STRICT;

CREATE TABLE apps (
    connector     TEXT NOT NULL,
    -- The issuer or token URL of a server that the user names; empty for the connector's own server, and for an app that
    -- belongs to no server yet.
    server        TEXT NOT NULL,
    client_id     TEXT NOT NULL,
    client_secret TEXT,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (connector, server)
) STRICT, WITHOUT ROWID;

-- What the emulated vendors keep between two commands.
CREATE TABLE sandbox_state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How a connection's webhooks reach it, and what proves them.
CREATE TABLE webhooks (
    connection_id INTEGER PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    -- The last part of the URL, which nobody can guess.
    path          TEXT NOT NULL UNIQUE,
    -- What the vendor calls, where that is not this machine.
    public_url    TEXT,
    -- The port of this machine that was last listened at.
    port          INTEGER,
    -- JSON: the values that are no secrets.
    params        TEXT NOT NULL DEFAULT '{}',
    -- JSON: the secrets, the newest first, each with the time until which it is good; null for the one in force.
    secrets       TEXT NOT NULL DEFAULT '[]'
) STRICT;

CREATE TABLE events (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- What the vendor knows the delivery by: one event of a connection.
    delivery_id   TEXT NOT NULL,
    -- Whether the request named its delivery. One that did not is never the second key of another that did not either.
    has_delivery_id         INTEGER NOT NULL DEFAULT 1,
    -- Eight bytes of a hash of the two, which all look-ups go by.
    dedup_key           INTEGER NOT NULL,
    -- SHA-256 of the event, by which a second delivery of the same id is told from another event.
    digest        BLOB NOT NULL,
    -- SHA-256 of the bytes that were signed, where the signature does not cover the id: the same bytes under another id are
    -- the same event. Eight of its bytes are the second key.
    signed_digest        BLOB,
    signed_dedup_key    INTEGER,
    -- Whether it is proved that the vendor sent it. `asking`: the vendor is still to be asked. `unsigned`: this service signs
    -- nothing. `refused`: the vendor did not send it.
    verification         TEXT NOT NULL DEFAULT 'verified' CHECK (verification IN ('verified', 'unsigned', 'unconfirmed', 'rejected')),
    kind          TEXT NOT NULL,
    account       TEXT,
    resource      TEXT,
    actor         TEXT,
    -- Unix milliseconds.
    occurred_at   INTEGER,
    received_at   INTEGER NOT NULL,
    -- JSON: names and values as they came.
    headers       TEXT NOT NULL,
    -- The query string of the request, without its question mark.
    query         TEXT NOT NULL DEFAULT '',
    -- The exact body; of a batch only the first event has it, and the others name that one.
    body          BLOB,
    batch_event_id       INTEGER REFERENCES events (id) ON DELETE CASCADE,
    -- JSON: the event within a batch; NULL where the body is the event.
    batch_item          TEXT,
    status        TEXT NOT NULL CHECK (status IN ('pending', 'processed', 'failed', 'dead')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    -- The handlers that have done with it, as a set of bits.
    completed_handlers          INTEGER NOT NULL DEFAULT 0,
    -- Unix milliseconds; when it is to be handled again.
    due_at        INTEGER,
    last_error    TEXT
) STRICT;

-- What waits to be handled, in the order in which it came; the rest is not in it.
CREATE INDEX events_queued ON events (connection_id, id) WHERE status IN ('pending', 'failed');

-- Those that the vendor is to be asked about.
CREATE INDEX events_unconfirmed ON events (connection_id, id) WHERE verification = 'unconfirmed';

-- Events that came under the delivery id of another one with another body. `webhook resolve` makes events of them, or
-- drops them. The columns are those of `events`.
CREATE TABLE event_conflicts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id    INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    received_at INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    signed_digest      BLOB,
    verification       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    account     TEXT,
    resource    TEXT,
    actor       TEXT,
    occurred_at INTEGER,
    headers     TEXT NOT NULL,
    query       TEXT NOT NULL,
    body        BLOB NOT NULL,
    batch_item        TEXT
) STRICT;

CREATE INDEX event_conflicts_event ON event_conflicts (event_id);

-- Where the user's own events are sent. In this table and in messages, deliveries and
-- attempts, times are Unix milliseconds and durations seconds.
CREATE TABLE endpoints (
    id              TEXT PRIMARY KEY,
    url             TEXT NOT NULL,
    description     TEXT,
    -- JSON: patterns of event types; none is all.
    events          TEXT NOT NULL,
    -- JSON: the secrets, the newest first, each with the time until which it signs; null for the one in force.
    secrets         TEXT NOT NULL,
    backoff          TEXT NOT NULL CHECK (backoff IN ('exponential', 'linear', 'none')),
    max_attempts   INTEGER NOT NULL,
    ttl_secs             INTEGER NOT NULL,
    timeout_secs         INTEGER NOT NULL,
    rate_requests   INTEGER,
    rate_secs       INTEGER,
    disabled_reason        TEXT CHECK (disabled_reason IN ('user', 'gone', 'failing')),
    disabled_at     INTEGER,
    -- Since when there was nothing but failures, and when the last one was.
    failing_since   INTEGER,
    last_failed_at  INTEGER,
    -- Until when it asked to be left alone.
    paused_until    INTEGER,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    -- The very bytes that are signed and sent.
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX messages_created ON messages (created_at);

CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id  TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    status      TEXT NOT NULL CHECK (status IN ('pending', 'failed', 'delivered', 'dead')),
    -- Since it was begun, or brought back.
    attempts    INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER,
    expires_at  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    last_error  TEXT,
    UNIQUE (message_id, endpoint_id)
) STRICT;

-- What waits to be sent; the rest is not in it.
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at) WHERE status IN ('pending', 'failed');
CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, created_at);

CREATE TABLE attempts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id     INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    started_at      INTEGER NOT NULL,
    duration_ms     INTEGER NOT NULL,
    -- JSON: names and values; the signature is not among them.
    request_headers TEXT NOT NULL,
    response_status INTEGER,
    -- Its beginning.
    response_body   BLOB,
    error           TEXT
) STRICT;

CREATE INDEX attempts_delivery ON attempts (delivery_id);

-- Where URLs of connections are registered at their vendors by integ. Times are Unix seconds.
CREATE TABLE subscriptions (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- `asking`: the vendor was asked, and no answer is stored. `ending`: it is not wanted any more, and may be there still.
    status        TEXT NOT NULL CHECK (status IN ('creating', 'active', 'deleting')),
    url           TEXT NOT NULL,
    -- JSON: the types of events, and the values that the user gave; the vendor is asked with them again.
    events        TEXT NOT NULL,
    params         TEXT NOT NULL,
    -- What it was asked for with: an id of ours, by which the vendor knows a repetition as well.
    idempotency_key         TEXT NOT NULL,
    -- JSON: the results that the other calls need.
    metadata          TEXT NOT NULL DEFAULT '{}',
    -- What the vendor signs with, where the vendor made it.
    secret        TEXT,
    created_at    INTEGER NOT NULL,
    renewed_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    failures      INTEGER NOT NULL DEFAULT 0,
    -- When renewing or ending it was last tried in vain.
    last_failed_at      INTEGER,
    last_error    TEXT
) STRICT;

CREATE INDEX subscriptions_connection ON subscriptions (connection_id);

-- What is over its time: of these the content is still there.
CREATE INDEX events_prunable ON events (connection_id, received_at) WHERE status = 'processed' AND headers <> '';
CREATE INDEX events_batch ON events (batch_event_id) WHERE batch_event_id IS NOT NULL;

-- What the user's own events are, by type.
CREATE TABLE event_types (
    kind        TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    -- JSON: data as they are sent.
    sample      TEXT
) STRICT, WITHOUT ROWID;

-- The events of a key, up to the one that `meta.keyed_to` names: later ones are not in it yet.
CREATE TABLE event_dedup_keys (
    key   INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (key, event_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER events_deleted AFTER DELETE ON events BEGIN
    DELETE FROM event_dedup_keys WHERE key IN (old.dedup_key, old.signed_dedup_key) AND event_id = old.id;
END;

-- A kind of record of a connection that is synced.
CREATE TABLE streams (
    id            INTEGER PRIMARY KEY,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    -- JSON: what the user gave for it.
    params        TEXT NOT NULL DEFAULT '{}',
    UNIQUE (connection_id, name)
) STRICT;

-- One list of a stream: all of it, or what belongs to one record of its parent.
CREATE TABLE partitions (
    id             INTEGER PRIMARY KEY,
    stream_id      INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    -- JSON: the values that the parent's record, or the user, gives it; by name.
    params          TEXT NOT NULL,
    -- The parent's record, and its version when this was last listed to the end.
    parent_record_id      INTEGER REFERENCES records (id) ON DELETE SET NULL,
    parent_version INTEGER,
    cursor         TEXT,
    -- JSON: how far a list has come that is not at its end; a backfill has its own.
    checkpoint       TEXT,
    backfill_checkpoint       TEXT,
    -- Unix seconds: when it was last listed to the end.
    synced_at      INTEGER,
    UNIQUE (stream_id, params)
) STRICT;

CREATE INDEX partitions_parent ON partitions (parent_record_id);

-- Where a part stood before.
CREATE TABLE cursor_history (
    id          INTEGER PRIMARY KEY,
    partition_id     INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    cursor      TEXT,
    -- Unix seconds.
    replaced_at INTEGER NOT NULL
) STRICT;

CREATE INDEX cursor_history_partition ON cursor_history (partition_id);

CREATE TABLE records (
    id            INTEGER PRIMARY KEY,
    -- The part's, with which it goes.
    stream_id     INTEGER NOT NULL,
    partition_id       INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    key           TEXT NOT NULL,
    -- Of its body: HighwayHash-128 with the store's key.
    hash          BLOB NOT NULL,
    -- The store's write that changed it last, and the one that brought it: what orders changes.
    version       INTEGER NOT NULL,
    added_version         INTEGER NOT NULL,
    -- Unix seconds.
    first_seen_at INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    deleted_at    INTEGER,
    -- What it was newer by when it was deleted, where the vendor said so by itself.
    deleted_cursor    TEXT,
    -- When it was as it is, in Unix milliseconds, where the vendor said so by itself.
    vendor_updated_at       INTEGER,
    UNIQUE (stream_id, key)
) STRICT;

-- Apart from the rest, so that a list of what is known already reads narrow rows.
CREATE TABLE record_bodies (
    record_id INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    -- As the vendor wrote it, without the space between.
    json      TEXT NOT NULL
) STRICT;

CREATE INDEX records_version ON records (stream_id, version);
-- With the rest of what tells, without a look at the rows, which of them a full list was to meet.
CREATE INDEX records_partition ON records (partition_id, version, deleted_at);
-- With the row's id behind it: what lists a stream in the order in which its records came.
CREATE INDEX records_stream ON records (stream_id);

-- What a full list has met so far: the ids of records, each less the one before, in LEB128.
CREATE TABLE seen_ids (
    id      INTEGER PRIMARY KEY,
    partition_id INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    ids     BLOB NOT NULL
) STRICT;

CREATE INDEX seen_ids_partition ON seen_ids (partition_id);

-- One run of a sync of one stream.
CREATE TABLE jobs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id  INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    mode       TEXT NOT NULL CHECK (mode IN ('incremental', 'full', 'backfill')),
    status      TEXT NOT NULL CHECK (status IN ('running', 'done', 'skipped', 'failed', 'rate_limited', 'cancelled')),
    -- What a backfill was asked for.
    since      TEXT,
    until      TEXT,
    -- Unix seconds.
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    resumes_at INTEGER,
    added      INTEGER NOT NULL DEFAULT 0,
    changed    INTEGER NOT NULL DEFAULT 0,
    deleted    INTEGER NOT NULL DEFAULT 0,
    unchanged  INTEGER NOT NULL DEFAULT 0,
    requests   INTEGER NOT NULL DEFAULT 0,
    retries    INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    error      TEXT,
    -- The error's code.
    error_code       TEXT,
    -- Set by whoever wants it to end.
    cancel_requested     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX jobs_stream ON jobs (stream_id);

CREATE TABLE schedules (
    id            INTEGER PRIMARY KEY,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- Empty for all streams.
    stream        TEXT NOT NULL DEFAULT '',
    rule          TEXT NOT NULL,
    jitter_secs   INTEGER NOT NULL DEFAULT 0,
    -- Unix seconds.
    next_at       INTEGER NOT NULL,
    last_at       INTEGER,
    UNIQUE (connection_id, stream)
) STRICT;
