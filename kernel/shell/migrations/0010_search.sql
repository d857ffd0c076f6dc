-- Searching, and what people say of an image: tags, whether it is a favorite, a note. There is one full-text index of
-- jobs and one of images (FTS5), with their prompts and, as terms of a second column, everything else that lists are
-- filtered by. So any combination of filters is one intersection of lists that are already in the order of the page
-- (ADR 0047). The index keeps no text; an image's row is its job's number and its own.

ALTER TABLE image ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE image ADD COLUMN favorite INTEGER NOT NULL DEFAULT 0 CHECK (favorite IN (0, 1));
ALTER TABLE image ADD COLUMN note TEXT;

CREATE VIRTUAL TABLE job_search USING fts5 (
    prompt, facts, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

CREATE VIRTUAL TABLE image_search USING fts5 (
    prompt, facts, image_id UNINDEXED, content = '', contentless_delete = 1, contentless_unindexed = 1,
    tokenize = 'unicode61 remove_diacritics 2'
);

-- The numbers that the jobs and images of each six hours have: a date is a range of them, and a bit more.
CREATE TABLE time_range (
    kind   TEXT NOT NULL CHECK (kind IN ('job', 'image')),
    period INTEGER NOT NULL,             -- created_at_ms / 21600000
    low    INTEGER NOT NULL,
    high   INTEGER NOT NULL,
    PRIMARY KEY (kind, period)
) STRICT, WITHOUT ROWID;

CREATE VIEW job_terms AS
SELECT seq AS place, created_at_ms / 21600000 AS period, spec ->> '$.prompt' AS prompt,
       replace('STATE STATEe' || hex(engine_id), 'STATE', iif(status IN ('waiting', 'processing'), 'open', status))
       || ' s' || (spec ->> '$.seed') || ' w' || (spec ->> '$.width') || ' h' || (spec ->> '$.height')
       || coalesce((SELECT group_concat(' l' || hex(lora.value ->> '$.model_id'), '')
                    FROM json_each(job.spec, '$.loras') AS lora), '') AS facts
FROM job;

CREATE VIEW image_terms AS
SELECT image.image_id, job.seq * 16384 + image.position AS place, image.created_at_ms / 21600000 AS period,
       job.spec ->> '$.prompt' AS prompt,
       replace('STATE STATEe' || hex(image.engine_id), 'STATE', iif(image.gone_reason IS NULL, 'kept', 'gone'))
       || ' s' || image.seed || ' w' || image.width_px || ' h' || image.height_px
       || coalesce((SELECT group_concat(' l' || hex(lora.value ->> '$.model_id'), '')
                    FROM json_each(job.spec, '$.loras') AS lora), '')
       || iif(image.favorite, ' favorite', '')
       || coalesce((SELECT group_concat(' t' || hex(tag.value), '') FROM json_each(image.tags) AS tag), '') AS facts
FROM image CROSS JOIN job USING (job_id);

-- A job gets into the index when it stops waiting: that takes as long as accepting it, and many come at once.
CREATE TRIGGER job_is_found AFTER UPDATE OF status ON job
WHEN old.status <> new.status AND (old.status = 'waiting' OR new.status NOT IN ('waiting', 'processing'))
BEGIN
    INSERT OR REPLACE INTO job_search (rowid, prompt, facts)
    SELECT place, prompt, facts FROM job_terms WHERE place = new.seq;
    INSERT INTO time_range (kind, period, low, high) VALUES ('job', new.created_at_ms / 21600000, new.seq, new.seq)
    ON CONFLICT DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high);
END;

CREATE TRIGGER job_is_found_no_more AFTER DELETE ON job
BEGIN
    DELETE FROM job_search WHERE rowid = old.seq;
END;

CREATE TRIGGER image_is_found AFTER INSERT ON image
BEGIN
    INSERT OR REPLACE INTO image_search (rowid, prompt, facts, image_id)
    SELECT place, prompt, facts, image_id FROM image_terms WHERE image_id = new.image_id;
    INSERT INTO time_range (kind, period, low, high)
    SELECT 'image', period, place, place FROM image_terms WHERE image_id = new.image_id
    ON CONFLICT DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high);
END;

CREATE TRIGGER image_is_found_as_changed AFTER UPDATE OF gone_reason, tags, favorite ON image
BEGIN
    INSERT OR REPLACE INTO image_search (rowid, prompt, facts, image_id)
    SELECT place, prompt, facts, image_id FROM image_terms WHERE image_id = new.image_id;
END;

CREATE TRIGGER image_is_found_no_more BEFORE DELETE ON image
BEGIN
    DELETE FROM image_search WHERE rowid = (SELECT place FROM image_terms WHERE image_id = old.image_id);
END;

INSERT INTO job_search (rowid, prompt, facts) SELECT place, prompt, facts FROM job_terms;
INSERT OR REPLACE INTO image_search (rowid, prompt, facts, image_id) SELECT place, prompt, facts, image_id FROM image_terms;
INSERT INTO time_range SELECT 'job', period, min(place), max(place) FROM job_terms GROUP BY period;
INSERT INTO time_range SELECT 'image', period, min(place), max(place) FROM image_terms GROUP BY period;
