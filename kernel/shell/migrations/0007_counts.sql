-- Counts that need no counting, and indexes in the order of every list, so that no answer costs more the more
-- rows there are. The triggers keep each count in the transaction of the change itself; with INSERT OR REPLACE
-- and OR IGNORE, which these two tables never see, they would not.

-- The jobs of an engine in one state. Those that wait are counted by blocks of 512 numbers of arrival, so that
-- a place in the queue is a few sums; the others have priority 0 and block 0. No row has count 0.
CREATE TABLE job_count (
    engine_id TEXT NOT NULL,
    status    TEXT NOT NULL,
    priority  INTEGER NOT NULL,
    block     INTEGER NOT NULL,          -- seq / 512
    count     INTEGER NOT NULL,
    PRIMARY KEY (engine_id, status, priority, block)
) STRICT, WITHOUT ROWID;

-- The images of an engine that are not gone, by the day of their making.
CREATE TABLE image_count (
    engine_id  TEXT NOT NULL,
    day        INTEGER NOT NULL,         -- created_at_ms / 86400000
    count      INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (engine_id, day)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_comes AFTER INSERT ON job
BEGIN
    INSERT INTO job_count (engine_id, status, priority, block, count)
    VALUES (new.engine_id, new.status, iif(new.status = 'waiting', new.priority, 0),
            iif(new.status = 'waiting', new.seq / 512, 0), 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER job_goes AFTER DELETE ON job
BEGIN
    UPDATE job_count SET count = count - 1
    WHERE engine_id = old.engine_id AND status = old.status
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0);
    DELETE FROM job_count
    WHERE engine_id = old.engine_id AND status = old.status
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0) AND count = 0;
END;

CREATE TRIGGER job_moves AFTER UPDATE OF seq, engine_id, status, priority ON job
WHEN (old.seq, old.engine_id, old.status, old.priority)
     IS NOT (new.seq, new.engine_id, new.status, new.priority)
BEGIN
    UPDATE job_count SET count = count - 1
    WHERE engine_id = old.engine_id AND status = old.status
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0);
    DELETE FROM job_count
    WHERE engine_id = old.engine_id AND status = old.status
      AND priority = iif(old.status = 'waiting', old.priority, 0)
      AND block = iif(old.status = 'waiting', old.seq / 512, 0) AND count = 0;
    INSERT INTO job_count (engine_id, status, priority, block, count)
    VALUES (new.engine_id, new.status, iif(new.status = 'waiting', new.priority, 0),
            iif(new.status = 'waiting', new.seq / 512, 0), 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER image_comes AFTER INSERT ON image WHEN new.gone_reason IS NULL
BEGIN
    INSERT INTO image_count (engine_id, day, count, size_bytes)
    VALUES (new.engine_id, new.created_at_ms / 86400000, 1, new.size_bytes)
    ON CONFLICT DO UPDATE SET count = count + 1, size_bytes = size_bytes + excluded.size_bytes;
END;

CREATE TRIGGER image_goes AFTER DELETE ON image WHEN old.gone_reason IS NULL
BEGIN
    UPDATE image_count SET count = count - 1, size_bytes = size_bytes - old.size_bytes
    WHERE engine_id = old.engine_id AND day = old.created_at_ms / 86400000;
    DELETE FROM image_count
    WHERE engine_id = old.engine_id AND day = old.created_at_ms / 86400000 AND count = 0;
END;

CREATE TRIGGER image_ends AFTER UPDATE OF engine_id, created_at_ms, size_bytes, gone_reason ON image
WHEN old.gone_reason IS NULL
BEGIN
    UPDATE image_count SET count = count - 1, size_bytes = size_bytes - old.size_bytes
    WHERE engine_id = old.engine_id AND day = old.created_at_ms / 86400000;
    DELETE FROM image_count
    WHERE engine_id = old.engine_id AND day = old.created_at_ms / 86400000 AND count = 0;
END;

CREATE TRIGGER image_returns AFTER UPDATE OF engine_id, created_at_ms, size_bytes, gone_reason ON image
WHEN new.gone_reason IS NULL
BEGIN
    INSERT INTO image_count (engine_id, day, count, size_bytes)
    VALUES (new.engine_id, new.created_at_ms / 86400000, 1, new.size_bytes)
    ON CONFLICT DO UPDATE SET count = count + 1, size_bytes = size_bytes + excluded.size_bytes;
END;

-- What the triggers must have come to: for the beginning, for `spoon db check`, and for a start that looks after it.
CREATE VIEW job_recount AS
SELECT engine_id, status, iif(status = 'waiting', priority, 0) AS priority,
       iif(status = 'waiting', seq / 512, 0) AS block, count(*) AS count
FROM job GROUP BY 1, 2, 3, 4;

CREATE VIEW image_recount AS
SELECT engine_id, created_at_ms / 86400000 AS day, count(*) AS count, sum(size_bytes) AS size_bytes
FROM image WHERE gone_reason IS NULL GROUP BY 1, 2;

INSERT INTO job_count SELECT * FROM job_recount;
INSERT INTO image_count SELECT * FROM image_recount;

DROP INDEX job_by_engine;
CREATE INDEX job_by_engine ON job (engine_id, status, seq, priority);

DROP INDEX image_by_job;
CREATE INDEX image_by_job ON image (job_id, image_id);

DROP INDEX image_by_engine;
CREATE INDEX image_kept ON image (image_id) WHERE gone_reason IS NULL;
CREATE INDEX image_gone ON image (image_id) WHERE gone_reason IS NOT NULL;
CREATE INDEX image_kept_by_engine ON image (engine_id, image_id) WHERE gone_reason IS NULL;
CREATE INDEX image_gone_by_engine ON image (engine_id, image_id) WHERE gone_reason IS NOT NULL;

DROP INDEX image_by_age;
CREATE INDEX image_by_age ON image (created_at_ms, size_bytes, expires_at_ms) WHERE gone_reason IS NULL;
CREATE INDEX image_by_age_by_engine ON image (engine_id, created_at_ms, size_bytes, expires_at_ms)
WHERE gone_reason IS NULL;
