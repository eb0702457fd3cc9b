-- Where the user's own events are sent. Times of this file are Unix milliseconds, durations seconds.
CREATE TABLE endpoints (
    id              TEXT PRIMARY KEY,
    url             TEXT NOT NULL,
    description     TEXT,
    -- JSON: patterns of event types; none is all.
    events          TEXT NOT NULL,
    -- JSON: the secrets, the newest first, each with the time until which it signs; null for the one in force.
    secrets         TEXT NOT NULL,
    policy          TEXT NOT NULL CHECK (policy IN ('exponential', 'linear', 'none')),
    most_attempts   INTEGER NOT NULL,
    ttl             INTEGER NOT NULL,
    timeout         INTEGER NOT NULL,
    rate_requests   INTEGER,
    rate_secs       INTEGER,
    disabled        TEXT CHECK (disabled IN ('user', 'gone', 'failing')),
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

CREATE INDEX messages_age ON messages (created_at);

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
CREATE INDEX deliveries_of ON deliveries (endpoint_id, created_at);

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

CREATE INDEX attempts_of ON attempts (delivery_id);
