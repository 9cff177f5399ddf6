-- What a repeated create is answered by. Keys and requests are keyed hashes.
CREATE TABLE create_records (
    key     BLOB PRIMARY KEY,
    request BLOB    NOT NULL,
    salt    BLOB    NOT NULL,
    user_id INTEGER NOT NULL, -- a user that may be gone: ids are never used again
    ends_at INTEGER NOT NULL  -- after which the record counts no more, and goes
) STRICT, WITHOUT ROWID;

CREATE INDEX create_records_ends ON create_records (ends_at);
