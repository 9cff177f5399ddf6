-- The program counts new users, once for each transaction: a trigger would have
-- every insert copy the pages that it changes.
DROP TRIGGER user_counts_insert;

-- A user may be deleted in the transaction that created it, before it is counted.
DROP TRIGGER user_counts_delete;
CREATE TRIGGER user_counts_delete AFTER DELETE ON users BEGIN
    INSERT INTO user_counts VALUES (OLD.registry_id, OLD.id / 4096, -1)
    ON CONFLICT DO UPDATE SET users = users - 1;
    DELETE FROM user_counts WHERE registry_id = OLD.registry_id AND block = OLD.id / 4096 AND users = 0;
END;
