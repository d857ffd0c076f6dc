-- Jobs are counted by their key too: keys take turns in a queue, and each has a place among its own jobs.

DROP TRIGGER job_comes;
DROP TRIGGER job_goes;
DROP TRIGGER job_moves;
DROP VIEW job_recount;
DROP TABLE job_count;

-- The jobs of an engine in one state and of one key. Those that wait are counted by blocks of 512 numbers of arrival,
-- so that a place in the queue is a few sums; the others have priority 0 and block 0. No row has count 0.
CREATE TABLE job_count (
    engine_id TEXT NOT NULL,
    status    TEXT NOT NULL,
    key_id    TEXT NOT NULL,             -- '': without a key; a primary key has no NULL
    priority  INTEGER NOT NULL,
    block     INTEGER NOT NULL,          -- seq / 512
    count     INTEGER NOT NULL,
    PRIMARY KEY (engine_id, status, key_id, priority, block)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_comes AFTER INSERT ON job
BEGIN
    INSERT INTO job_count (engine_id, status, key_id, priority, block, count)
    VALUES (new.engine_id, new.status, coalesce(new.key_id, ''), iif(new.status = 'waiting', new.priority, 0),
            iif(new.status = 'waiting', new.seq / 512, 0), 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER job_goes AFTER DELETE ON job
BEGIN
    UPDATE job_count SET count = count - 1
    WHERE engine_id = old.engine_id AND status = old.status AND key_id = coalesce(old.key_id, '')
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0);
    DELETE FROM job_count
    WHERE engine_id = old.engine_id AND status = old.status AND key_id = coalesce(old.key_id, '')
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0) AND count = 0;
END;

CREATE TRIGGER job_moves AFTER UPDATE OF seq, engine_id, status, key_id, priority ON job
WHEN (old.seq, old.engine_id, old.status, old.key_id, old.priority)
     IS NOT (new.seq, new.engine_id, new.status, new.key_id, new.priority)
BEGIN
    UPDATE job_count SET count = count - 1
    WHERE engine_id = old.engine_id AND status = old.status AND key_id = coalesce(old.key_id, '')
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0);
    DELETE FROM job_count
    WHERE engine_id = old.engine_id AND status = old.status AND key_id = coalesce(old.key_id, '')
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0) AND count = 0;
    INSERT INTO job_count (engine_id, status, key_id, priority, block, count)
    VALUES (new.engine_id, new.status, coalesce(new.key_id, ''), iif(new.status = 'waiting', new.priority, 0),
            iif(new.status = 'waiting', new.seq / 512, 0), 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

-- What the triggers must have come to: for the beginning, for `spoon db check`, and for a start that looks after it.
CREATE VIEW job_recount AS
SELECT engine_id, status, coalesce(key_id, '') AS key_id, iif(status = 'waiting', priority, 0) AS priority,
       iif(status = 'waiting', seq / 512, 0) AS block, count(*) AS count
FROM job GROUP BY 1, 2, 3, 4, 5;

INSERT INTO job_count SELECT * FROM job_recount;

-- The waiting jobs of one key and priority in the order of arrival: for those of the same block in a queue.
DROP INDEX job_by_engine;
CREATE INDEX job_by_engine ON job (engine_id, status, seq, priority, key_id);
