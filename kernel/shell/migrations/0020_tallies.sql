-- What has happened since this version, for /metrics: counted by triggers in the transaction of the change itself, so
-- that neither a restart nor a repetition loses or doubles anything. Rows go with their engine. (adr/0066)

-- Durations are counted by the smallest of these bounds that they do not exceed.
CREATE TABLE duration_bound (
    ms INTEGER PRIMARY KEY
) STRICT;

INSERT INTO duration_bound (ms)
VALUES (100), (250), (500), (1000), (2500), (5000), (10000), (25000), (60000), (120000), (300000), (600000),
       (1800000), (3600000), (9007199254740991);

CREATE TABLE tally (
    engine_id TEXT NOT NULL,
    what      TEXT NOT NULL,             -- wait; finished, failed, cancelled: the time of running; image; download
    bound_ms  INTEGER NOT NULL,          -- of durations; else 0
    count     INTEGER NOT NULL,
    total     INTEGER NOT NULL,          -- milliseconds; of images, pixels; of downloads, bytes
    PRIMARY KEY (engine_id, what, bound_ms)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_begins AFTER UPDATE OF started_at_ms ON job
WHEN old.started_at_ms IS NULL AND new.started_at_ms IS NOT NULL
BEGIN
    INSERT INTO tally (engine_id, what, bound_ms, count, total)
    SELECT new.engine_id, 'wait', min(ms), 1, max(new.started_at_ms - new.created_at_ms, 0)
    FROM duration_bound WHERE ms >= new.started_at_ms - new.created_at_ms
    ON CONFLICT DO UPDATE SET count = count + 1, total = total + excluded.total;
END;

CREATE TRIGGER job_ends AFTER UPDATE OF status ON job
WHEN old.finished_at_ms IS NULL AND new.finished_at_ms IS NOT NULL
BEGIN
    INSERT INTO tally (engine_id, what, bound_ms, count, total)
    SELECT new.engine_id, new.status, min(ms), 1,
           max(new.finished_at_ms - coalesce(new.started_at_ms, new.finished_at_ms), 0)
    FROM duration_bound WHERE ms >= new.finished_at_ms - coalesce(new.started_at_ms, new.finished_at_ms)
    ON CONFLICT DO UPDATE SET count = count + 1, total = total + excluded.total;
END;

CREATE TRIGGER image_is_made AFTER INSERT ON image
BEGIN
    INSERT INTO tally (engine_id, what, bound_ms, count, total)
    VALUES (new.engine_id, 'image', 0, 1, new.width_px * new.height_px)
    ON CONFLICT DO UPDATE SET count = count + 1, total = total + excluded.total;
END;

-- Images may outlive their engine.
CREATE TRIGGER image_is_downloaded AFTER UPDATE OF downloads ON image
WHEN new.downloads > old.downloads AND EXISTS (SELECT 1 FROM engine WHERE engine_id = new.engine_id)
BEGIN
    INSERT INTO tally (engine_id, what, bound_ms, count, total)
    VALUES (new.engine_id, 'download', 0, 1, new.size_bytes)
    ON CONFLICT DO UPDATE SET count = count + 1, total = total + excluded.total;
END;

CREATE TRIGGER engine_is_deleted AFTER DELETE ON engine
BEGIN
    DELETE FROM tally WHERE engine_id = old.engine_id;
END;
