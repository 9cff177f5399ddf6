-- The idempotency records of all operations.
ALTER TABLE create_records RENAME TO idempotency_records;
ALTER TABLE idempotency_records RENAME COLUMN user_id TO object_id; -- whatever the operation created or changed
ALTER TABLE idempotency_records RENAME COLUMN ends_at TO expires_at;
DROP INDEX create_records_ends;
CREATE INDEX idempotency_records_expiry ON idempotency_records (expires_at);

-- A registry's users by id.
CREATE INDEX users_by_registry ON users (registry_id, id);

-- How many users a registry has in each block of 4,096 ids: their sum is the total,
-- and the user at an offset is found without counting the users before it.
CREATE TABLE user_counts (
    registry_id INTEGER NOT NULL,
    block       INTEGER NOT NULL, -- id / 4096
    users       INTEGER NOT NULL,
    PRIMARY KEY (registry_id, block)
) STRICT, WITHOUT ROWID;

INSERT INTO user_counts SELECT registry_id, id / 4096, count(*) FROM users GROUP BY 1, 2;

CREATE TRIGGER user_counts_insert AFTER INSERT ON users BEGIN
    INSERT INTO user_counts VALUES (NEW.registry_id, NEW.id / 4096, 1)
    ON CONFLICT DO UPDATE SET users = users + 1;
END;

CREATE TRIGGER user_counts_delete AFTER DELETE ON users BEGIN
    UPDATE user_counts SET users = users - 1 WHERE registry_id = OLD.registry_id AND block = OLD.id / 4096;
    DELETE FROM user_counts WHERE registry_id = OLD.registry_id AND block = OLD.id / 4096 AND users = 0;
END;
