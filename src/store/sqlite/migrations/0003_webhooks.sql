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
    named         INTEGER NOT NULL DEFAULT 1,
    -- Eight bytes of a hash of the two, which all look-ups go by.
    key           INTEGER NOT NULL,
    -- SHA-256 of the event, by which a second delivery of the same id is told from another event.
    digest        BLOB NOT NULL,
    -- SHA-256 of the bytes that were signed, where the signature does not cover the id: the same bytes under another id are
    -- the same event. Eight of its bytes are the second key.
    signed        BLOB,
    signed_key    INTEGER,
    -- Whether it is proved that the vendor sent it. `asking`: the vendor is still to be asked. `unsigned`: this service signs
    -- nothing. `refused`: the vendor did not send it.
    proof         TEXT NOT NULL DEFAULT 'verified' CHECK (proof IN ('verified', 'unsigned', 'asking', 'refused')),
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
    body_of       INTEGER REFERENCES events (id) ON DELETE CASCADE,
    -- JSON: the event within a batch; NULL where the body is the event.
    item          TEXT,
    status        TEXT NOT NULL CHECK (status IN ('pending', 'processed', 'failed', 'dead')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    -- The handlers that have done with it, as a set of bits.
    done          INTEGER NOT NULL DEFAULT 0,
    -- Unix milliseconds; when it is to be handled again.
    due_at        INTEGER,
    last_error    TEXT
) STRICT;

-- Narrow, for it grows with all that ever came, in no order: of millions of events its inner pages still fit in memory.
CREATE INDEX events_key ON events (key);

-- What waits to be handled, in the order in which it came; the rest is not in it.
CREATE INDEX events_waiting ON events (connection_id, id) WHERE status IN ('pending', 'failed');

-- Those that the vendor is to be asked about.
CREATE INDEX events_asking ON events (connection_id, id) WHERE proof = 'asking';

-- Events that came under the delivery id of another one with another body. `webhook resolve` makes events of them, or
-- drops them. The columns are those of `events`.
CREATE TABLE conflicts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id    INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    received_at INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    signed      BLOB,
    proof       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    account     TEXT,
    resource    TEXT,
    actor       TEXT,
    occurred_at INTEGER,
    headers     TEXT NOT NULL,
    query       TEXT NOT NULL,
    body        BLOB NOT NULL,
    item        TEXT
) STRICT;

CREATE INDEX conflicts_event ON conflicts (event_id);
