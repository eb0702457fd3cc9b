-- Times are Unix seconds unless a comment says milliseconds. Lists and maps are JSON. Every table is STRICT, so that a
-- value of a wrong type is an error when it is written, not when it is read.
--
-- AUTOINCREMENT keeps the id of a deleted row from being given out again: commands, logs and caches may still name it.

-- Facts about the store itself, in one row.
CREATE TABLE meta (
    only_row         INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- Names this store's entries in the OS keyring; a restored store gets a new one.
    vault_id         TEXT NOT NULL,
    -- Counts committed writes: a store that lost some is behind the number that is noted beside it.
    sequence         INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL,
    -- When the store was made from a backup; NULL if it was not.
    restored_at      INTEGER,
    -- The id of the last event whose keys are in `event_dedup_keys`. Raised in the commit that adds them, so that a
    -- process that was killed leaves no gap: the keys of later events are read from the events.
    dedup_indexed_to INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One account connected through a connector.
CREATE TABLE connections (
    -- An id is never used twice: what is still named after a removed connection must not reach another.
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    connector          TEXT NOT NULL,
    -- The part of the name after '@'. Empty for an unnamed account rather than NULL: NULLs are all different to UNIQUE.
    account            TEXT NOT NULL DEFAULT '',
    mode               TEXT NOT NULL CHECK (mode IN ('live', 'sandbox')),
    -- The key of the connector's [auth.*] table.
    auth               TEXT NOT NULL,
    -- Where the vendor's traffic is sent instead; NULL for the vendor itself.
    origin             TEXT,
    -- JSON: what the user was asked for, such as a subdomain.
    params             TEXT NOT NULL,
    -- JSON: values of the vendor's answers that later calls need, such as `cloud_id`.
    metadata           TEXT NOT NULL,
    -- The account as the vendor names it.
    account_id         TEXT,
    account_name       TEXT,
    scopes_requested   TEXT NOT NULL,
    -- NULL if the vendor does not say.
    scopes_granted     TEXT,
    grant_status       TEXT NOT NULL CHECK (grant_status IN ('active', 'needs_reauth', 'disconnected')),
    -- Why the grant is not active.
    status_reason      TEXT,
    connected_at       INTEGER NOT NULL,
    -- The operator who connected the account; NULL if nobody was signed in.
    connected_by       TEXT,
    -- The caller's own end user, as an opaque id; NULL for an account that belongs to none.
    user_id            TEXT,
    -- `never`: its credential is used for requests and handed out to nobody.
    reveal             TEXT NOT NULL DEFAULT 'allowed' CHECK (reveal IN ('allowed', 'never')),
    -- The last health check, and whether it passed; NULL before the first.
    checked_at         INTEGER,
    check_passed       INTEGER CHECK (check_passed IN (0, 1)),
    -- 1 from a check at which the vendor refused the token until one passes. A check that fails for another reason in
    -- between says nothing about the grant and must not clear it: hooks would be notified again.
    check_unauthorized INTEGER NOT NULL DEFAULT 0 CHECK (check_unauthorized IN (0, 1)),
    -- Failed checks and refreshes since the last good one.
    error_count        INTEGER NOT NULL DEFAULT 0,
    last_error         TEXT,
    UNIQUE (connector, account)
) STRICT;

-- What health checks found: the history behind the uptime of connections. Removed after their retention, oldest first.
CREATE TABLE health_checks (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- In milliseconds.
    at            INTEGER NOT NULL,
    outcome       TEXT NOT NULL
        CHECK (outcome IN ('healthy', 'forbidden', 'unchecked', 'needs_reauth', 'temporary', 'failed')),
    -- Of the vendor's call; NULL if there was none.
    duration_ms   INTEGER,
    http_status   INTEGER,
    error         TEXT
) STRICT;

CREATE INDEX health_checks_connection ON health_checks (connection_id);

-- The alerts that were reported and last. The process that adds the row of one reports it.
CREATE TABLE alerts (
    kind     TEXT NOT NULL,
    -- A connection, a queue, or the name of an API token. No reference: it ends by itself when its condition does.
    subject  TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;

-- The credentials of a connection, replaced by each refresh. Without a row the connection has none.
CREATE TABLE grants (
    connection_id      INTEGER PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    -- JSON; NULL while the secrets are in the OS keyring.
    secrets            TEXT,
    -- 1 if the OS keyring may hold an entry. Committed before an entry is written and cleared after it is deleted, so
    -- that a crash in between leaves a flag without an entry, never an entry that nothing points to.
    in_keyring         INTEGER NOT NULL DEFAULT 0 CHECK (in_keyring IN (0, 1)),
    client_id          TEXT,
    issued_at          INTEGER NOT NULL,
    expires_at         INTEGER,
    refresh_expires_at INTEGER,
    refresh_method     TEXT NOT NULL
        CHECK (refresh_method IN ('none', 'refresh_token', 'reusable_refresh_token', 'client_credentials', 'key')),
    -- One more with every new grant. A writer names the generation that it replaces, and writes nothing if another
    -- process was faster.
    generation         INTEGER NOT NULL,
    -- When the grant of `refresh_generation` was sent to the vendor for a refresh whose answer is not stored. Committed
    -- before the request: a refresh token may work only once, and a crash must not hide that it was used.
    refresh_started_at INTEGER,
    refresh_generation INTEGER,
    -- 1 if the grant came from a backup: a refresh since then may have used it up.
    from_backup        INTEGER NOT NULL DEFAULT 0 CHECK (from_backup IN (0, 1)),
    CHECK (secrets IS NOT NULL OR in_keyring = 1)
) STRICT;

-- OAuth clients registered with vendors.
CREATE TABLE apps (
    connector     TEXT NOT NULL,
    -- The issuer or token URL of a server that the user named. Empty for the connector's own server, and for an app
    -- that is not assigned to a server yet.
    server        TEXT NOT NULL,
    client_id     TEXT NOT NULL,
    client_secret TEXT,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (connector, server)
) STRICT, WITHOUT ROWID;

-- Connectors that callers of the API installed in this workspace. Their files are shared by digest.
CREATE TABLE installed_connectors (
    connector     TEXT PRIMARY KEY,
    -- The digest of the file, in hexadecimal.
    sha256        TEXT NOT NULL,
    -- The URL that it came from.
    source        TEXT NOT NULL,
    installed_at  INTEGER NOT NULL,
    -- The id of an API token. No reference: a connector outlives the token that installed it.
    installed_by  TEXT NOT NULL,
    -- The user whom that token was limited to; cleared once the user is deleted.
    user_id       TEXT,
    -- JSON: values of the connector's parameters, used where a sign-in gives none.
    configuration TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- URLs with which somebody else connects an account.
CREATE TABLE connect_links (
    id          TEXT PRIMARY KEY,
    -- SHA-256 of the secret part of the URL, which is stored nowhere.
    secret_hash BLOB NOT NULL UNIQUE,
    connector   TEXT NOT NULL,
    -- NULL where the name follows from the user or the account.
    account     TEXT,
    -- NULL for the connector's usual method.
    auth        TEXT,
    -- JSON.
    scopes      TEXT NOT NULL,
    params      TEXT NOT NULL,
    user_id     TEXT,
    mode        TEXT NOT NULL CHECK (mode IN ('live', 'sandbox')),
    display     TEXT NOT NULL CHECK (display IN ('redirect', 'popup')),
    return_to   TEXT,
    -- 1 if an API caller chose the parameters: hosts among them may only be public.
    is_guarded  INTEGER NOT NULL CHECK (is_guarded IN (0, 1)),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    -- One less in the commit that uses up the state of a sign-in, and one more if that sign-in fails.
    uses_left   INTEGER NOT NULL CHECK (uses_left >= 0),
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

-- Sign-ins that one process begins and any other may finish. Kept for an hour after their end, for those who ask how they
-- ended.
CREATE TABLE sign_ins (
    id                 TEXT PRIMARY KEY,
    -- SHA-256 of `state`; NULL for a device code. Kept once used, so that a repeated callback is recognised.
    state_hash         BLOB UNIQUE,
    connector          TEXT NOT NULL,
    account            TEXT NOT NULL,
    -- JSON: what the process that finishes it needs, with the PKCE verifier. NULL once the state is used up.
    details            TEXT,
    -- For a device code: how often the vendor may be asked, and when it was, in milliseconds.
    poll_interval_secs INTEGER,
    polled_at          INTEGER NOT NULL,
    user_id            TEXT,
    link_id            TEXT REFERENCES connect_links (id) ON DELETE CASCADE,
    return_to          TEXT,
    created_at         INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,
    -- When the state was used up. Without a result some minutes later, the process was killed.
    taken_at           INTEGER,
    -- JSON: the connection or the failure.
    result             TEXT,
    ended_at           INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_ins_link ON sign_ins (link_id) WHERE link_id IS NOT NULL;

-- What the emulated vendors remember between two commands; the values are JSON.
CREATE TABLE sandbox_state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How a connection's webhooks reach it, and the secrets that verify them.
CREATE TABLE webhooks (
    connection_id INTEGER PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    -- The last part of the URL: random, because it is all that protects a service that signs nothing.
    path          TEXT NOT NULL UNIQUE,
    -- What the vendor calls, if that is not this machine.
    public_url    TEXT,
    -- The port of the last `webhook listen`.
    port          INTEGER,
    -- JSON: the values that are not secret.
    params        TEXT NOT NULL DEFAULT '{}',
    -- JSON: the secrets, newest first, each with the time until which it is accepted; null for the current one.
    secrets       TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- The inbox: webhooks received. Times are Unix milliseconds.
CREATE TABLE events (
    -- The order in which events came.
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id      INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- The vendor's id of the delivery, by which a repeated one is recognised. One event of a connection has it, unless
    -- `webhook resolve` made more of them.
    delivery_id        TEXT NOT NULL,
    -- Whether the request named its delivery. Equal signed bytes of two requests that did not are two events.
    has_delivery_id    INTEGER NOT NULL DEFAULT 1,
    -- Eight bytes of a hash of connection and delivery id. Lookups go by it through `event_dedup_keys`; there is no
    -- index on it, since each insert would then change a random page.
    dedup_key          INTEGER NOT NULL,
    -- SHA-256 of the event: tells a repeated delivery from another event under the same id.
    digest             BLOB NOT NULL,
    -- SHA-256 of the signed bytes if the signature does not cover the delivery id: the same bytes under another id are
    -- the same event. Its key works as `dedup_key` does.
    signed_digest      BLOB,
    signed_dedup_key   INTEGER,
    -- Whether the vendor is known to have sent it. `unsigned`: this service signs nothing. `unconfirmed`: the signature
    -- covers too little and the vendor has yet to be asked. `rejected`: the vendor says that it did not send it.
    -- No `IN` here and for `status`: of more than two words SQLite makes a table in memory, which costs half of an insert.
    verification       TEXT NOT NULL DEFAULT 'verified'
        CHECK (verification = 'verified' OR verification = 'unsigned'
            OR verification = 'unconfirmed' OR verification = 'rejected'),
    kind               TEXT NOT NULL,
    account            TEXT,
    resource           TEXT,
    actor              TEXT,
    occurred_at        INTEGER,
    received_at        INTEGER NOT NULL,
    -- JSON: names and values as received. Empty once the content is pruned.
    headers            TEXT NOT NULL,
    -- The query string of the request, without its question mark.
    query              TEXT NOT NULL DEFAULT '',
    -- The body, byte for byte. Only the first event of a batch has it, and the others refer to that event: a batch of a
    -- thousand must not store its body a thousand times.
    body               BLOB,
    batch_event_id     INTEGER REFERENCES events (id) ON DELETE CASCADE,
    -- JSON: the event within a batch; NULL if the body is the event.
    batch_item         TEXT,
    status             TEXT NOT NULL
        CHECK (status = 'pending' OR status = 'processed' OR status = 'failed' OR status = 'dead'),
    attempts           INTEGER NOT NULL DEFAULT 0,
    -- A bit for each handler that is done with it, so that a retry does not repeat what one of them did.
    completed_handlers INTEGER NOT NULL DEFAULT 0,
    -- When it is handled next. NULL for an event that has just come, which is due: its place in the index is then among
    -- those of its kind, in the order of arrival.
    due_at             INTEGER,
    last_error         TEXT
) STRICT;

-- The queue of a connection: first the new events in the order of arrival, then the others by the time at which they are
-- due. Partial, so that its size is that of the queue, not of the inbox.
CREATE INDEX events_queued ON events (connection_id, due_at, id) WHERE status IN ('pending', 'failed');

-- The events that the vendor has yet to be asked about.
CREATE INDEX events_unconfirmed ON events (connection_id, id) WHERE verification = 'unconfirmed';

-- The events to prune: processed, and their content is still there.
CREATE INDEX events_prunable ON events (connection_id, received_at) WHERE status = 'processed' AND headers <> '';

-- The other events of a batch.
CREATE INDEX events_batch ON events (batch_event_id) WHERE batch_event_id IS NOT NULL;

-- The events that have a key, up to `meta.dedup_indexed_to`. Keys are hashes, so that each falls on another page: they
-- are collected in memory and added many at a time, in their order, instead of one with each event. What is still in
-- memory is never lost, since it can be read from the events.
CREATE TABLE event_dedup_keys (
    key      INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (key, event_id)
) STRICT, WITHOUT ROWID;

-- A trigger rather than a reference: a foreign key from a key to its event would need an index by event as well.
CREATE TRIGGER events_deleted AFTER DELETE ON events BEGIN
    DELETE FROM event_dedup_keys WHERE key IN (old.dedup_key, old.signed_dedup_key) AND event_id = old.id;
END;

-- Events received under the delivery id of another one with a different body. `webhook resolve` makes events of them or
-- deletes them. The columns are those of `events`. At most eight for an event, so that repeated requests cannot fill
-- the disk.
CREATE TABLE event_conflicts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id      INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    received_at   INTEGER NOT NULL,
    digest        BLOB NOT NULL,
    signed_digest BLOB,
    verification  TEXT NOT NULL,
    kind          TEXT NOT NULL,
    account       TEXT,
    resource      TEXT,
    actor         TEXT,
    occurred_at   INTEGER,
    headers       TEXT NOT NULL,
    query         TEXT NOT NULL,
    body          BLOB NOT NULL,
    batch_item    TEXT
) STRICT;

CREATE INDEX event_conflicts_event ON event_conflicts (event_id);

-- What handlers did with events: a row for each handler in each attempt. Without a rowid, so that the rows of an event
-- lie together and need no index of their own.
CREATE TABLE event_attempts (
    event_id    INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- From 1, over all attempts of the event.
    number      INTEGER NOT NULL,
    -- From 1, and again from 1 once the event is queued again by the user or the vendor.
    attempt     INTEGER NOT NULL,
    handler     TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    -- The HTTP status of an answer, or the exit code of a command.
    status      INTEGER,
    error       TEXT,
    -- The first KiB of what a handler that failed answered or printed.
    output      BLOB,
    PRIMARY KEY (event_id, number)
) STRICT, WITHOUT ROWID;

-- The webhooks that integ registered at vendors.
CREATE TABLE subscriptions (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id   INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- `creating`: committed before the vendor is asked, so that a subscription whose answer was lost is known to be
    -- possible. `deleting`: committed before the vendor is asked to end it, so that the deletion is tried until it
    -- succeeds.
    status          TEXT NOT NULL CHECK (status IN ('creating', 'active', 'deleting')),
    url             TEXT NOT NULL,
    -- JSON: the event types and the user's parameters, with which a renewal asks again.
    events          TEXT NOT NULL,
    params          TEXT NOT NULL,
    -- An id of ours that is sent with the request, by which the vendor can recognise a repetition.
    idempotency_key TEXT NOT NULL,
    -- JSON: values of the vendor's answer that renewing and ending need.
    metadata        TEXT NOT NULL DEFAULT '{}',
    -- The signing secret, if the vendor made it.
    secret          TEXT,
    created_at      INTEGER NOT NULL,
    renewed_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    -- Failed renewals or deletions since the last success, and the time of the last one: what the next wait depends on.
    failures        INTEGER NOT NULL DEFAULT 0,
    last_failed_at  INTEGER,
    last_error      TEXT
) STRICT;

CREATE INDEX subscriptions_connection ON subscriptions (connection_id);

-- Mappings from the records of a stream, or the events of a type, to the user's own shape. Of connectors rather than of
-- connections: one mapping serves all accounts, and is not lost with one of them.
CREATE TABLE bindings (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    name             TEXT NOT NULL UNIQUE,
    connector        TEXT NOT NULL,
    -- The account of the one connection that it is for; NULL for all of the connector's.
    account          TEXT,
    stream           TEXT,
    event            TEXT,
    text             TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    changed_at       INTEGER NOT NULL,
    -- Failures since it was set that are not in `binding_failures`, because there were too many.
    dropped_failures INTEGER NOT NULL DEFAULT 0,
    CHECK ((stream IS NULL) <> (event IS NULL))
) STRICT;

-- Inputs that a binding could not map, to be tried again once it is changed.
CREATE TABLE binding_failures (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    binding_id INTEGER NOT NULL REFERENCES bindings (id) ON DELETE CASCADE,
    record_id  INTEGER REFERENCES records (id) ON DELETE CASCADE,
    event_id   INTEGER REFERENCES events (id) ON DELETE CASCADE,
    reason     TEXT NOT NULL,
    failed_at  INTEGER NOT NULL,
    CHECK ((record_id IS NULL) <> (event_id IS NULL)),
    UNIQUE (binding_id, record_id),
    UNIQUE (binding_id, event_id)
) STRICT;

-- For the deletion of their records and events.
CREATE INDEX binding_failures_record ON binding_failures (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX binding_failures_event ON binding_failures (event_id) WHERE event_id IS NOT NULL;

-- Pairs of an entity of the user's and an object of a service.
CREATE TABLE links (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- The caller's own end user. Empty for none rather than NULL: NULLs are all different to UNIQUE.
    user_id       TEXT NOT NULL DEFAULT '',
    entity_type   TEXT NOT NULL,
    entity_id     TEXT NOT NULL,
    -- What the object is one of: a stream, a calendar.
    resource      TEXT NOT NULL,
    object_id     TEXT NOT NULL,
    -- The object that the service made of this one and of another one, which has a link of its own.
    merged_into   TEXT,
    created_at    INTEGER NOT NULL,
    -- When the object was last given another id.
    changed_at    INTEGER NOT NULL,
    UNIQUE (user_id, entity_type, entity_id, connection_id, resource),
    UNIQUE (connection_id, resource, object_id)
) STRICT;

-- The keys by which services know the events of the user's entities. Committed before a service is asked to add an event,
-- so that an event whose answer was lost is found again; removed with the event.
CREATE TABLE event_creations (
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    entity_type   TEXT NOT NULL,
    entity_id     TEXT NOT NULL,
    -- 128 random bits in hexadecimal, which each service is given in a format of its own.
    key           TEXT NOT NULL,
    -- NULL for the default calendar.
    calendar      TEXT,
    -- When the event was to be: what is known by no id is looked for there.
    starts_at     INTEGER NOT NULL,
    ends_at       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (connection_id, entity_type, entity_id)
) STRICT, WITHOUT ROWID;

-- Requests to the HTTP API that may be repeated, with the response that a repetition gets.
CREATE TABLE idempotency_keys (
    -- The id of the API token.
    caller        TEXT NOT NULL,
    key           TEXT NOT NULL,
    -- SHA-256 of method, path, query and body: a key belongs to one request.
    digest        BLOB NOT NULL,
    -- In milliseconds.
    claimed_at    INTEGER NOT NULL,
    -- When another request may take over a claim that got no response, in milliseconds.
    claimed_until INTEGER NOT NULL,
    -- The request that claimed it, and the end of the audit log then: an entry of a change behind it says that the request had
    -- begun, and must not be made again.
    request_id    TEXT NOT NULL,
    audit_sequence INTEGER NOT NULL,
    -- NULL until the request has ended.
    status        INTEGER,
    content_type  TEXT,
    location      TEXT,
    body          BLOB,
    PRIMARY KEY (caller, key)
) STRICT;

-- What two-way bindings know of linked entities. Values are JSON objects: a member for each field.
CREATE TABLE entity_states (
    binding_id      INTEGER NOT NULL REFERENCES bindings (id) ON DELETE CASCADE,
    link_id         INTEGER NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    -- The version that both sides last agreed on.
    agreed          TEXT NOT NULL,
    -- What the user's side last pushed or was given, and when it was changed.
    ours            TEXT NOT NULL,
    ours_changed_at INTEGER,
    -- JSON: the fields that were changed on both sides; an empty list for none.
    conflicts       TEXT NOT NULL,
    -- The object was deleted at the service.
    is_deleted      INTEGER NOT NULL,
    -- The store's version when the object was last looked at: records that are not newer say nothing new.
    seen_version    INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    PRIMARY KEY (binding_id, link_id)
) STRICT, WITHOUT ROWID;

-- For the deletion of their links.
CREATE INDEX entity_states_link ON entity_states (link_id);

-- Writes of two-way bindings. A row is committed before a service is asked and deleted with what the answer says: one that is
-- found later may or may not have been done.
CREATE TABLE entity_writes (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    binding_id    INTEGER NOT NULL REFERENCES bindings (id) ON DELETE CASCADE,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    user_id       TEXT NOT NULL DEFAULT '',
    entity_type   TEXT NOT NULL,
    entity_id     TEXT NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('create', 'update', 'delete')),
    -- The link of the object that is changed or deleted.
    link_id       INTEGER REFERENCES links (id) ON DELETE CASCADE,
    action        TEXT NOT NULL,
    -- JSON: the parameters as they were sent.
    params        TEXT NOT NULL,
    -- 128 random bits in hexadecimal, by which a service may know a repetition.
    key           TEXT NOT NULL,
    -- JSON: the values that it gives to fields.
    fields        TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    UNIQUE (binding_id, connection_id, user_id, entity_type, entity_id)
) STRICT;

CREATE INDEX entity_writes_link ON entity_writes (link_id) WHERE link_id IS NOT NULL;
CREATE INDEX entity_writes_connection ON entity_writes (connection_id);

-- Links are found by their entity, of any user.
CREATE INDEX links_entity ON links (entity_type, entity_id);

-- The types of the user's own events.
CREATE TABLE event_types (
    kind        TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    -- JSON: an example of the data.
    sample      TEXT
) STRICT, WITHOUT ROWID;

-- URLs that the user's own events are sent to. Here and in the next three tables times are Unix milliseconds.
CREATE TABLE endpoints (
    id              TEXT PRIMARY KEY,
    url             TEXT NOT NULL,
    description     TEXT,
    -- JSON: patterns of event types; an empty list is all of them.
    events          TEXT NOT NULL,
    -- JSON: the secrets, newest first, each with the time until which it signs; null for the current one.
    secrets         TEXT NOT NULL,
    -- How the waits between attempts grow.
    backoff         TEXT NOT NULL CHECK (backoff IN ('exponential', 'linear', 'none')),
    max_attempts    INTEGER NOT NULL,
    -- How long a delivery is tried.
    ttl_secs        INTEGER NOT NULL,
    -- For one attempt, from connecting to the last byte of the answer.
    timeout_secs    INTEGER NOT NULL,
    -- At most so many requests in so many seconds; NULL for no limit.
    rate_requests   INTEGER,
    rate_secs       INTEGER,
    -- `gone`: it answered 410. `failing`: it failed for days.
    disabled_reason TEXT CHECK (disabled_reason IN ('user', 'gone', 'failing')),
    disabled_at     INTEGER,
    -- The first and the last failure since the last success.
    failing_since   INTEGER,
    last_failed_at  INTEGER,
    -- Until when the endpoint asked for no requests, with `Retry-After`.
    paused_until    INTEGER,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The user's own events. Stored in one commit with a delivery for each endpoint, so that none is left out after a
-- crash.
CREATE TABLE messages (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    -- The bytes that are signed and sent: a retry must send the same ones.
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- For pruning, oldest first.
CREATE INDEX messages_created ON messages (created_at);

-- One message to one endpoint.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id  TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    -- No `IN`, as in `events`.
    status      TEXT NOT NULL CHECK (status = 'pending' OR status = 'failed' OR status = 'delivered' OR status = 'dead'),
    -- Since it was created or last requeued by the user; `attempts` has the earlier ones as well.
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- When it is tried next; NULL once it is delivered or dead.
    due_at      INTEGER,
    expires_at  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    last_error  TEXT,
    UNIQUE (message_id, endpoint_id)
) STRICT;

-- The queue of an endpoint, the longest overdue first. Partial, so that delivered ones cost nothing.
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at) WHERE status IN ('pending', 'failed');

CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, created_at);

-- The log of attempts. Written after the answer: a process that is killed in between sends the message again under the
-- same id, which the receiver can recognise; the other order could lose it.
CREATE TABLE attempts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id     INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    started_at      INTEGER NOT NULL,
    duration_ms     INTEGER NOT NULL,
    -- JSON: names and values; the signature is redacted.
    request_headers TEXT NOT NULL,
    response_status INTEGER,
    -- The first KiB, which is enough to find a fault: an endpoint may answer anything.
    response_body   BLOB,
    error           TEXT
) STRICT;

CREATE INDEX attempts_delivery ON attempts (delivery_id);

-- A kind of record of a connection that is synced.
CREATE TABLE streams (
    id            INTEGER PRIMARY KEY,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    -- JSON: the user's parameters.
    params        TEXT NOT NULL DEFAULT '{}',
    UNIQUE (connection_id, name)
) STRICT;

-- One list of a stream: the whole stream, or the records that belong to one record of its parent.
CREATE TABLE partitions (
    id                  INTEGER PRIMARY KEY,
    stream_id           INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    -- JSON: the values by name that the parent's record, or the user, gives it.
    params              TEXT NOT NULL,
    -- The parent's record, and its version when this was last listed to the end: a parent that has not changed since
    -- need not be listed again.
    parent_record_id    INTEGER REFERENCES records (id) ON DELETE SET NULL,
    parent_version      INTEGER,
    -- Where the next incremental list begins. Moves once a list is complete, in one commit with its last records or
    -- with the sweep after it: a crash repeats a page and never skips one.
    cursor              TEXT,
    -- JSON: the page at which an unfinished list goes on; committed with the records of the page before. A backfill has
    -- its own, since it runs beside the cursor.
    checkpoint          TEXT,
    backfill_checkpoint TEXT,
    -- When it was last listed to the end.
    synced_at           INTEGER,
    UNIQUE (stream_id, params)
) STRICT;

CREATE INDEX partitions_parent ON partitions (parent_record_id);

-- Former cursors, to go back to. The newest 20 of each partition: a sync every minute must not grow the store.
CREATE TABLE cursor_history (
    id           INTEGER PRIMARY KEY,
    partition_id INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    cursor       TEXT,
    replaced_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX cursor_history_partition ON cursor_history (partition_id);

-- What was synced. A deleted record stays as a tombstone, so that readers of changes learn of it.
CREATE TABLE records (
    id                INTEGER PRIMARY KEY,
    -- The partition's stream, repeated for the UNIQUE constraint. It needs no reference: the partition's deletes the
    -- row.
    stream_id         INTEGER NOT NULL,
    partition_id      INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    key               TEXT NOT NULL,
    -- The first 16 bytes of SHA-256 of the store's key and the body: tells a changed record without reading its body.
    hash              BLOB NOT NULL,
    -- `meta.sequence` of the write that last changed it, and of the one that added it. Changes are ordered by it and
    -- not by time: a clock can be set back, and several writes share a second.
    version           INTEGER NOT NULL,
    added_version     INTEGER NOT NULL,
    first_seen_at     INTEGER NOT NULL,
    changed_at        INTEGER NOT NULL,
    deleted_at        INTEGER,
    -- The record's cursor value when it was deleted, if an event said so: a late event with an older value must not
    -- bring it back.
    deleted_cursor    TEXT,
    -- Unix milliseconds: when the vendor last changed it, if an event said so. An older event is then ignored.
    vendor_updated_at INTEGER,
    -- The event that said so. Of two events of one moment the one that came later counts, in whatever order they are handled.
    -- No reference: events are pruned before records are.
    vendor_event_id   INTEGER,
    UNIQUE (stream_id, key)
) STRICT;

-- The JSON of records. A table of its own, so that comparing a page with what is known reads narrow rows.
CREATE TABLE record_bodies (
    record_id INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    -- As the vendor wrote it, without whitespace between tokens.
    json      TEXT NOT NULL
) STRICT;

-- The changes of a stream since a version.
CREATE INDEX records_version ON records (stream_id, version);
-- The records that a full list should meet: covering, since it is read for every record of a partition.
CREATE INDEX records_partition ON records (partition_id, version, deleted_at);
-- The records of a stream in the order in which they were added: the row id follows the indexed column.
CREATE INDEX records_stream ON records (stream_id);

-- The records that an unfinished full list has met: what is missing in the end was deleted at the vendor. A row for
-- each page, committed with it, so that a list that was interrupted can go on.
CREATE TABLE seen_ids (
    id           INTEGER PRIMARY KEY,
    partition_id INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    -- Ids of records as differences in zigzag LEB128: a byte or two for each instead of a row.
    ids          BLOB NOT NULL
) STRICT;

CREATE INDEX seen_ids_partition ON seen_ids (partition_id);

-- One run of the sync of one stream. The newest 100 of each stream, so that a sync every minute does not grow the
-- store.
CREATE TABLE jobs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id        INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    mode             TEXT NOT NULL CHECK (mode IN ('incremental', 'full', 'backfill')),
    -- A row that is `running` may be of a process that was killed: the next job of the stream marks it as failed.
    status           TEXT NOT NULL
        CHECK (status IN ('running', 'done', 'skipped', 'failed', 'rate_limited', 'cancelled')),
    -- The range of a backfill.
    since            TEXT,
    until            TEXT,
    started_at       INTEGER NOT NULL,
    -- The operator who started it; NULL for a schedule, and if nobody was signed in.
    started_by       TEXT,
    ended_at         INTEGER,
    -- When the vendor's rate limit allows it to go on.
    resumes_at       INTEGER,
    -- Records, by what became of them; added up in the commit of each page.
    added            INTEGER NOT NULL DEFAULT 0,
    changed          INTEGER NOT NULL DEFAULT 0,
    deleted          INTEGER NOT NULL DEFAULT 0,
    unchanged        INTEGER NOT NULL DEFAULT 0,
    requests         INTEGER NOT NULL DEFAULT 0,
    retries          INTEGER NOT NULL DEFAULT 0,
    bytes            INTEGER NOT NULL DEFAULT 0,
    error            TEXT,
    error_code       TEXT,
    -- Set by another process. The job reads it with the commit of each page, so that it stops with its records stored.
    cancel_requested INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX jobs_stream ON jobs (stream_id);

-- When streams are synced.
CREATE TABLE schedules (
    id            INTEGER PRIMARY KEY,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- Empty for all streams of the connection rather than NULL: NULLs are all different to UNIQUE.
    stream        TEXT NOT NULL DEFAULT '',
    rule          TEXT NOT NULL,
    -- Runs are spread over so many seconds.
    jitter_secs   INTEGER NOT NULL DEFAULT 0,
    -- Moved on in the commit that takes a run, and only from the value that was read: of several processes one runs it.
    next_at       INTEGER NOT NULL,
    last_at       INTEGER,
    UNIQUE (connection_id, stream)
) STRICT;

-- Locks that were ever taken. The operating system's lock on a file says whether one is held; see locks.rs.
CREATE TABLE locks (
    -- What is locked, as LockKey writes it: grant-7.
    key        TEXT PRIMARY KEY,
    -- The process that took it last: its id and a random part, because ids are used again.
    holder     TEXT NOT NULL,
    -- Increases with every holder. A commit names the number that its lock had, and fails if it is no longer this one.
    fence      INTEGER NOT NULL,
    -- Milliseconds. When the lease ends unless it is renewed.
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Tokens of the HTTP API. What a token's holder presents is not here, only its SHA-256.
CREATE TABLE api_tokens (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    -- The caller's own end user; NULL for a token of none.
    user_id        TEXT,
    hash           BLOB NOT NULL UNIQUE,
    -- The hash before the last rotation, and until when it is accepted.
    previous_hash  BLOB UNIQUE,
    previous_until INTEGER,
    -- JSON: scopes and groups of scopes.
    scopes         TEXT NOT NULL,
    -- 1 if only the connections of `api_token_connections` may be used, also when there are none.
    is_limited     INTEGER NOT NULL CHECK (is_limited IN (0, 1)),
    tier           TEXT NOT NULL CHECK (tier IN ('free', 'pro', 'enterprise')),
    -- The token that created it; NULL if the owner did.
    parent_id      TEXT REFERENCES api_tokens (id) ON DELETE CASCADE,
    -- The first of the tokens that led to it, whose rate limit it shares.
    root_id        TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    is_enabled     INTEGER NOT NULL CHECK (is_enabled IN (0, 1)),
    created_at     INTEGER NOT NULL,
    rotated_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    -- Seconds after which it should be rotated.
    rotate_after   INTEGER,
    last_used_at   INTEGER,
    -- Which of its requests need a person's approval.
    approve        TEXT NOT NULL DEFAULT 'none' CHECK (approve IN ('none', 'destroy', 'write')),
    -- The trust whose identity token it was exchanged for.
    trust          TEXT REFERENCES api_token_trusts (name) ON DELETE CASCADE,
    CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
) STRICT, WITHOUT ROWID;

-- For the deletion of the tokens that a token created.
CREATE INDEX api_tokens_parent ON api_tokens (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX api_tokens_root ON api_tokens (root_id);

CREATE INDEX api_tokens_trust ON api_tokens (trust) WHERE trust IS NOT NULL;

-- Which identity tokens of CI systems are exchanged for tokens.
CREATE TABLE api_token_trusts (
    name       TEXT PRIMARY KEY,
    issuer     TEXT NOT NULL,
    audience   TEXT NOT NULL,
    -- JSON: the claims and the values that they must have.
    claims     TEXT NOT NULL,
    -- JSON, as in `api_tokens`.
    scopes     TEXT NOT NULL,
    approve    TEXT NOT NULL CHECK (approve IN ('none', 'destroy', 'write')),
    -- Seconds.
    lifetime   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_token_trust_connections (
    trust         TEXT NOT NULL REFERENCES api_token_trusts (name) ON DELETE CASCADE,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    PRIMARY KEY (trust, connection_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_token_trust_connections_connection ON api_token_trust_connections (connection_id);

-- The identity tokens that were exchanged, for as long as they would be accepted: each is exchanged once.
CREATE TABLE api_token_exchanges (
    -- SHA-256 of what was signed.
    digest         BLOB PRIMARY KEY,
    accepted_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The connections that a token is limited to.
CREATE TABLE api_token_connections (
    token_id      TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    PRIMARY KEY (token_id, connection_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_token_connections_connection ON api_token_connections (connection_id);

-- A token whose last connection is removed allows nothing, and is disabled so that its owner sees it.
CREATE TRIGGER api_token_connections_deleted AFTER DELETE ON api_token_connections
WHEN NOT EXISTS (SELECT 1 FROM api_token_connections WHERE token_id = old.token_id) BEGIN
    UPDATE api_tokens SET is_enabled = 0 WHERE id = old.token_id AND is_limited = 1;
END;

-- A person's yes to one exact request of a token, or of an agent on this machine, which has none.
CREATE TABLE approvals (
    id           TEXT PRIMARY KEY,
    token_id     TEXT REFERENCES api_tokens (id) ON DELETE CASCADE,
    operation    TEXT NOT NULL,
    effect       TEXT NOT NULL CHECK (effect IN ('read', 'write', 'destroy')),
    -- A name rather than a reference: the digest covers the id.
    connection   TEXT,
    -- SHA-256 of the request and of the id of its connection.
    digest       BLOB NOT NULL,
    summary      TEXT NOT NULL,
    -- JSON: method, path, query and body.
    request      TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('pending', 'granted', 'denied', 'used', 'expired')),
    use_limit    TEXT NOT NULL CHECK (use_limit IN ('once', 'repeated')),
    requested_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    decided_at   INTEGER,
    used_at      INTEGER
) STRICT, WITHOUT ROWID;

-- A repeated request finds the approval that it waits for.
CREATE UNIQUE INDEX approvals_open ON approvals (ifnull(token_id, ''), digest) WHERE status IN ('pending', 'granted', 'denied');

CREATE INDEX approvals_requested ON approvals (requested_at, id);

-- People who use the dashboard.
CREATE TABLE operators (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'editor', 'approver')),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- URLs with which an operator signs in, once. Only SHA-256 of the secret part is stored, as for sessions.
CREATE TABLE dashboard_links (
    secret_hash BLOB PRIMARY KEY,
    operator    TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX dashboard_links_operator ON dashboard_links (operator);

CREATE TABLE sessions (
    secret_hash  BLOB PRIMARY KEY,
    operator     TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    started_at   INTEGER NOT NULL,
    -- To the minute: the row is not written at each request.
    last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_operator ON sessions (operator);

-- The requests of the last window, by the first of the tokens that share a limit. Times are Unix microseconds and never
-- decrease with the number, so that both ends of the window are found by it.
CREATE TABLE rate_requests (
    token_id TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (token_id, number)
) STRICT, WITHOUT ROWID;

-- How often tokens were used.
CREATE TABLE api_usage (
    token_id  TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    -- In UTC: 2026-11-29.
    day       TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome   TEXT NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'denied', 'rate_limited')),
    count     INTEGER NOT NULL,
    PRIMARY KEY (token_id, day, operation, outcome)
) STRICT, WITHOUT ROWID;
-- The audit log. Rows are only added, and removed from the beginning after their retention. Times are Unix milliseconds.
-- Names are texts rather than references: the log outlives what they name.
CREATE TABLE audit_entries (
    sequence   INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL CHECK (actor IN ('local', 'api_token', 'operator', 'worker')),
    -- The id of the token, or the name of the operator.
    actor_id   TEXT,
    operation  TEXT NOT NULL,
    effect     TEXT NOT NULL CHECK (effect IN ('read', 'write', 'destroy')),
    connection TEXT,
    user_id    TEXT,
    consent_id TEXT,
    source     TEXT,
    request_id TEXT,
    detail     TEXT,
    outcome    TEXT NOT NULL CHECK (outcome IN ('started', 'done', 'refused', 'failed')),
    error_code TEXT,
    -- The hash of the entry before, and of this one, which covers it.
    previous   BLOB NOT NULL,
    hash       BLOB NOT NULL,
    -- The latest `at` up to this entry. It never decreases, although a clock can be set back, so that the entries since a
    -- time are found by its index without leaving one out.
    latest_at  INTEGER NOT NULL
) STRICT;

-- What lists are filtered by. Entries of a value are in the order of the log, since an index ends with the row's key.
CREATE INDEX audit_entries_connection ON audit_entries (connection) WHERE connection IS NOT NULL;
CREATE INDEX audit_entries_user ON audit_entries (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_entries_actor ON audit_entries (actor);
CREATE INDEX audit_entries_actor_id ON audit_entries (actor_id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_entries_operation ON audit_entries (operation);
CREATE INDEX audit_entries_latest ON audit_entries (latest_at);

-- The ends of the audit log, in one row.
CREATE TABLE audit_state (
    only_row         INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- The seed of the Ed25519 key that signs checkpoints.
    signing_seed     BLOB NOT NULL,
    -- The last entry: a log that ends before it was truncated.
    sequence         INTEGER NOT NULL DEFAULT 0,
    hash             BLOB NOT NULL,
    -- The checkpoint in place of the entries that were removed; NULL if none were.
    pruned_sequence  INTEGER,
    pruned_hash      BLOB,
    pruned_at        INTEGER,
    pruned_signature BLOB
) STRICT;

-- Records that a user allowed a purpose. A revoked one stays, so that it is known what was allowed when.
CREATE TABLE consents (
    id             TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL,
    consent_type   TEXT NOT NULL CHECK (consent_type IN ('third_party', 'data_sharing', 'data_processing', 'marketing')),
    -- NULL for everything of the user's. A connection is named, not referenced: what was allowed outlives it.
    resource_type  TEXT,
    resource_id    TEXT,
    purpose        TEXT NOT NULL,
    policy_version INTEGER NOT NULL,
    description    TEXT,
    granted_at     INTEGER NOT NULL,
    revoked_at     INTEGER,
    CHECK ((resource_type IS NULL) = (resource_id IS NULL))
) STRICT;

CREATE INDEX consents_user ON consents (user_id);
