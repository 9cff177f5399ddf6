CREATE TABLE registries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    region_id  INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL, -- microseconds since 1970, as all times here
    UNIQUE (project_id, region_id, name)
) STRICT;

CREATE TABLE users (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    registry_id    INTEGER NOT NULL REFERENCES registries (id),
    name           TEXT    NOT NULL,
    read_only      INTEGER NOT NULL,
    duration       INTEGER NOT NULL, -- days
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    secret_index   BLOB UNIQUE, -- of a made secret: its keyed hash
    secret_hash    TEXT,        -- of a chosen secret: its argon2id hash
    secret_version INTEGER NOT NULL,
    UNIQUE (registry_id, name),
    CHECK ((secret_index IS NULL) <> (secret_hash IS NULL))
) STRICT;

-- For logins by a bare name with a chosen secret.
CREATE INDEX users_chosen ON users (name) WHERE secret_hash IS NOT NULL;

CREATE TABLE api_keys (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL, -- 0: all projects
    hash       BLOB    NOT NULL, -- SHA-256 of the secret
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
