-- Times are Unix seconds. Lists and maps are JSON. Every table is STRICT, so that a damaged type is an error.

-- The one row of facts about the store itself.
CREATE TABLE meta (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- Names this store's entries in the OS keyring; a restored store gets a new one.
    vault_id    TEXT NOT NULL,
    -- Counts committed writes, so that lost ones are noticed.
    sequence    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    -- When the store was made from a backup.
    restored_at INTEGER
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
    kept           TEXT NOT NULL,
    vendor_id      TEXT,
    vendor_name    TEXT,
    scopes_asked   TEXT NOT NULL,
    -- NULL where the vendor does not say.
    scopes_granted TEXT,
    standing       TEXT NOT NULL CHECK (standing IN ('active', 'needs_reauth', 'disconnected')),
    reason         TEXT,
    connected_at   INTEGER NOT NULL,
    checked_at     INTEGER,
    healthy        INTEGER CHECK (healthy IN (0, 1)),
    error_count    INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT,
    UNIQUE (connector, account)
) STRICT;

CREATE TABLE grants (
    connection_id        INTEGER PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    -- JSON; NULL while the secrets are in the OS keyring.
    secrets              TEXT,
    -- 1 where the OS keyring may hold an entry: set before one is written, cleared after it is deleted.
    keyring              INTEGER NOT NULL DEFAULT 0 CHECK (keyring IN (0, 1)),
    client_id            TEXT,
    issued_at            INTEGER NOT NULL,
    expires_at           INTEGER,
    refresh_expires_at   INTEGER,
    renewal              TEXT NOT NULL
        CHECK (renewal IN ('none', 'refresh_token', 'reusable_refresh_token', 'client_credentials')),
    -- Grows with every new grant; whoever writes one names the generation that it replaces.
    generation           INTEGER NOT NULL,
    -- The grant of this generation was shown to the vendor and no answer is stored.
    presented_at         INTEGER,
    presented_generation INTEGER,
    -- 1 where the grant came from a backup and may have been used up since.
    restored             INTEGER NOT NULL DEFAULT 0 CHECK (restored IN (0, 1)),
    CHECK (secrets IS NOT NULL OR keyring = 1)
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
CREATE TABLE sandbox (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
