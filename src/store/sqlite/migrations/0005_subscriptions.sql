-- Where URLs of connections are registered at their vendors by integ. Times are Unix seconds.
CREATE TABLE subscriptions (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    -- `asking`: the vendor was asked, and no answer is stored. `ending`: it is not wanted any more, and may be there still.
    status        TEXT NOT NULL CHECK (status IN ('asking', 'active', 'ending')),
    url           TEXT NOT NULL,
    -- JSON: the types of events, and the values that the user gave; the vendor is asked with them again.
    events        TEXT NOT NULL,
    given         TEXT NOT NULL,
    -- What it was asked for with: an id of ours, by which the vendor knows a repetition as well.
    nonce         TEXT NOT NULL,
    -- JSON: the results that the other calls need.
    kept          TEXT NOT NULL DEFAULT '{}',
    -- What the vendor signs with, where the vendor made it.
    secret        TEXT,
    created_at    INTEGER NOT NULL,
    renewed_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    failures      INTEGER NOT NULL DEFAULT 0,
    -- When renewing or ending it was last tried in vain.
    tried_at      INTEGER,
    last_error    TEXT
) STRICT;

CREATE INDEX subscriptions_of ON subscriptions (connection_id);

-- What is over its time: of these the content is still there.
CREATE INDEX events_age ON events (connection_id, received_at) WHERE status = 'processed' AND headers <> '';
CREATE INDEX events_of_batch ON events (body_of) WHERE body_of IS NOT NULL;

-- What the user's own events are, by type.
CREATE TABLE event_types (
    kind        TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    -- JSON: data as they are sent.
    sample      TEXT
) STRICT, WITHOUT ROWID;
