-- 1 where the last check that could tell found the grant refused, so that a hook is told of it once.
ALTER TABLE connections ADD COLUMN refused INTEGER NOT NULL DEFAULT 0 CHECK (refused IN (0, 1));
