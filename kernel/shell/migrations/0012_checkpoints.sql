-- Engines change, and may be deleted without their images. So a job and its images say themselves by which checkpoint
-- they were made, and the name of a deleted engine stays for as long as jobs of it do.

ALTER TABLE job ADD COLUMN checkpoint TEXT;     -- that it was given to last; NULL: it waits for the first time
ALTER TABLE job ADD COLUMN names_checkpoint INTEGER NOT NULL DEFAULT 0 CHECK (names_checkpoint IN (0, 1));
ALTER TABLE image ADD COLUMN checkpoint TEXT;   -- NULL: not known

UPDATE job SET checkpoint = (SELECT engine.spec ->> '$.checkpoint' FROM engine WHERE engine.engine_id = job.engine_id)
WHERE status <> 'waiting' OR attempts > 0;
UPDATE image SET checkpoint = (SELECT engine.spec ->> '$.checkpoint' FROM engine WHERE engine.engine_id = image.engine_id);

CREATE TABLE former_engine (
    engine_id     TEXT PRIMARY KEY,
    name          TEXT,
    deleted_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX former_engine_by_name ON former_engine (name);

-- A checkpoint has a term of its own, with the state in it as that of an engine has.
DROP VIEW job_terms;
CREATE VIEW job_terms AS
SELECT seq AS place, created_at_ms / 21600000 AS period, spec ->> '$.prompt' AS prompt,
       replace('STATE STATEe' || hex(engine_id) || coalesce(' STATEc' || hex(checkpoint), ''),
               'STATE', iif(status IN ('waiting', 'processing'), 'open', status))
       || ' s' || (spec ->> '$.seed') || ' w' || (spec ->> '$.width') || ' h' || (spec ->> '$.height')
       || coalesce((SELECT group_concat(' l' || hex(lora.value ->> '$.model_id'), '')
                    FROM json_each(job.spec, '$.loras') AS lora), '') AS facts
FROM job;

DROP VIEW image_terms;
CREATE VIEW image_terms AS
SELECT image.image_id, job.seq * 16384 + image.position AS place, image.created_at_ms / 21600000 AS period,
       job.spec ->> '$.prompt' AS prompt,
       replace('STATE STATEe' || hex(image.engine_id) || coalesce(' STATEc' || hex(image.checkpoint), ''),
               'STATE', iif(image.gone_reason IS NULL, 'kept', 'gone'))
       || ' s' || image.seed || ' w' || image.width_px || ' h' || image.height_px
       || coalesce((SELECT group_concat(' l' || hex(lora.value ->> '$.model_id'), '')
                    FROM json_each(job.spec, '$.loras') AS lora), '')
       || iif(image.favorite, ' favorite', '')
       || coalesce((SELECT group_concat(' t' || hex(tag.value), '') FROM json_each(image.tags) AS tag), '') AS facts
FROM image CROSS JOIN job USING (job_id);

INSERT INTO job_search (job_search) VALUES ('delete-all');
INSERT INTO job_search (rowid, prompt, facts) SELECT place, prompt, facts FROM job_terms;
INSERT INTO image_search (image_search) VALUES ('delete-all');
INSERT OR REPLACE INTO image_search (rowid, prompt, facts, image_id) SELECT place, prompt, facts, image_id FROM image_terms;
