-- The events of a key, up to the one that `keyed_to` names: later ones are not in it yet.
CREATE TABLE event_keys (
    key   INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (key, event)
) STRICT, WITHOUT ROWID;

ALTER TABLE meta ADD COLUMN keyed_to INTEGER NOT NULL DEFAULT 0;

INSERT INTO event_keys
    SELECT key, id FROM events UNION SELECT signed_key, id FROM events WHERE signed_key IS NOT NULL ORDER BY 1, 2;
UPDATE meta SET keyed_to = (SELECT coalesce(max(id), 0) FROM events);
DROP INDEX events_key;

CREATE TRIGGER events_gone AFTER DELETE ON events BEGIN
    DELETE FROM event_keys WHERE key IN (old.key, old.signed_key) AND event = old.id;
END;
