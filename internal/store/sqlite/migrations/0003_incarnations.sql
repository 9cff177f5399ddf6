-- A user's incarnation tells it, with its present secret, from every other user
-- that has its id after a backup was restored. The column has no default, so the
-- table is built anew; ids still are never used again.
CREATE TABLE users_new (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    registry_id    INTEGER NOT NULL REFERENCES registries (id),
    name           TEXT    NOT NULL,
    read_only      INTEGER NOT NULL,
    duration       INTEGER NOT NULL, -- days
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    secret_index   BLOB UNIQUE, -- of a generated secret: its keyed hash
    secret_hash    TEXT,        -- of a custom secret: its argon2id hash
    secret_version INTEGER NOT NULL,
    incarnation    BLOB    NOT NULL, -- random, new with every secret
    UNIQUE (registry_id, name),
    CHECK ((secret_index IS NULL) <> (secret_hash IS NULL)),
    CHECK (length(incarnation) = 16)
) STRICT;

-- "Never" was 9999-12-31T23:59:59Z, and is 9999-12-30T00:00:00Z.
INSERT INTO users_new
SELECT id, registry_id, name, read_only, duration, created_at,
       CASE expires_at WHEN 253402300799000000 THEN 253402128000000000 ELSE expires_at END,
       secret_index, secret_hash, secret_version, randomblob(16)
FROM users;

DELETE FROM sqlite_sequence WHERE name = 'users_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'users_new', seq FROM sqlite_sequence WHERE name = 'users';
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;

-- For logins by a bare name with a custom secret.
CREATE INDEX users_custom ON users (name) WHERE secret_hash IS NOT NULL;
