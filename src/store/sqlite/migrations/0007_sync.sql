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
CREATE TABLE parts (
    id             INTEGER PRIMARY KEY,
    stream_id      INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    -- JSON: the values that the parent's record, or the user, gives it; by name.
    given          TEXT NOT NULL,
    -- The parent's record, and its version when this was last listed to the end.
    parent_id      INTEGER REFERENCES records (id) ON DELETE SET NULL,
    parent_version INTEGER,
    cursor         TEXT,
    -- JSON: how far a list has come that is not at its end; a backfill has its own.
    progress       TEXT,
    backfill       TEXT,
    -- Unix seconds: when it was last listed to the end.
    synced_at      INTEGER,
    UNIQUE (stream_id, given)
) STRICT;

CREATE INDEX parts_parent ON parts (parent_id);

-- Where a part stood before.
CREATE TABLE cursor_history (
    id          INTEGER PRIMARY KEY,
    part_id     INTEGER NOT NULL REFERENCES parts (id) ON DELETE CASCADE,
    cursor      TEXT,
    -- Unix seconds.
    replaced_at INTEGER NOT NULL
) STRICT;

CREATE INDEX cursor_history_part ON cursor_history (part_id);

CREATE TABLE records (
    id            INTEGER PRIMARY KEY,
    -- The part's, with which it goes.
    stream_id     INTEGER NOT NULL,
    part_id       INTEGER NOT NULL REFERENCES parts (id) ON DELETE CASCADE,
    key           TEXT NOT NULL,
    -- Of its body: HighwayHash-128 with the store's key.
    hash          BLOB NOT NULL,
    -- The store's write that changed it last, and the one that brought it: what orders changes.
    version       INTEGER NOT NULL,
    added         INTEGER NOT NULL,
    -- Unix seconds.
    first_seen_at INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    deleted_at    INTEGER,
    -- What it was newer by when it was deleted, where the vendor said so by itself.
    deleted_as    TEXT,
    -- When it was as it is, in Unix milliseconds, where the vendor said so by itself.
    told_at       INTEGER,
    UNIQUE (stream_id, key)
) STRICT;

-- Apart from the rest, so that a list of what is known already reads narrow rows.
CREATE TABLE bodies (
    record_id INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    -- As the vendor wrote it, without the space between.
    json      TEXT NOT NULL
) STRICT;

CREATE INDEX records_version ON records (stream_id, version);
-- With the rest of what tells, without a look at the rows, which of them a full list was to meet.
CREATE INDEX records_part ON records (part_id, version, deleted_at);
-- With the row's id behind it: what lists a stream in the order in which its records came.
CREATE INDEX records_stream ON records (stream_id);

-- What a full list has met so far: the ids of records, each less the one before, in LEB128.
CREATE TABLE sightings (
    id      INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL REFERENCES parts (id) ON DELETE CASCADE,
    ids     BLOB NOT NULL
) STRICT;

CREATE INDEX sightings_part ON sightings (part_id);

-- One run of a sync of one stream.
CREATE TABLE jobs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id  INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    mode       TEXT NOT NULL CHECK (mode IN ('incremental', 'full', 'backfill')),
    state      TEXT NOT NULL CHECK (state IN ('running', 'done', 'skipped', 'failed', 'limited', 'cancelled')),
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
    code       TEXT,
    -- Set by whoever wants it to end.
    cancel     INTEGER NOT NULL DEFAULT 0
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
