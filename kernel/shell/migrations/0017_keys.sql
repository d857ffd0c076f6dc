-- API keys, of which only digests are kept, and the key of each job; its images and blobs belong to it by their job.

CREATE TABLE api_key (
    key_id        TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
    digest        TEXT NOT NULL,        -- SHA-256 of the key
    created_at_ms INTEGER NOT NULL,
    issued_at_ms  INTEGER NOT NULL,     -- when its present secret was made
    weight        INTEGER NOT NULL,
    limits        TEXT NOT NULL,        -- KeyLimits
    expires_at_ms INTEGER,              -- NULL: never
    revoked_at_ms INTEGER
) STRICT;

CREATE UNIQUE INDEX api_key_by_name ON api_key (name) WHERE revoked_at_ms IS NULL;

ALTER TABLE job ADD COLUMN key_id TEXT; -- NULL: submitted without a key

-- The lists of one key's jobs: as those of all, by state and by engine. Jobs without a key are in neither.
CREATE INDEX job_by_key ON job (key_id, status, seq) WHERE key_id IS NOT NULL;
CREATE INDEX job_by_key_by_engine ON job (key_id, engine_id, status, seq) WHERE key_id IS NOT NULL;

-- In the search, a key has a term of its own, with the state in it as that of an engine has. No job has a key yet.
DROP VIEW job_terms;
CREATE VIEW job_terms AS
SELECT seq AS place, created_at_ms / 21600000 AS period, spec ->> '$.prompt' AS prompt,
       replace('STATE STATEe' || hex(engine_id) || coalesce(' STATEc' || hex(checkpoint), '')
               || coalesce(' STATEk' || hex(key_id), ''),
               'STATE', iif(status IN ('waiting', 'processing'), 'open', status))
       || ' s' || (spec ->> '$.seed') || ' w' || (spec ->> '$.width') || ' h' || (spec ->> '$.height')
       || coalesce((SELECT group_concat(' l' || hex(lora.value ->> '$.model_id'), '')
                    FROM json_each(job.spec, '$.loras') AS lora), '') AS facts
FROM job;

DROP VIEW image_terms;
CREATE VIEW image_terms AS
SELECT image.image_id, job.seq * 16384 + image.position AS place, image.created_at_ms / 21600000 AS period,
       job.spec ->> '$.prompt' AS prompt,
       replace('STATE STATEe' || hex(image.engine_id) || coalesce(' STATEc' || hex(image.checkpoint), '')
               || coalesce(' STATEk' || hex(job.key_id), ''),
               'STATE', iif(image.gone_reason IS NULL, 'kept', 'gone'))
       || ' s' || image.seed || ' w' || image.width_px || ' h' || image.height_px
       || coalesce((SELECT group_concat(' l' || hex(lora.value ->> '$.model_id'), '')
                    FROM json_each(job.spec, '$.loras') AS lora), '')
       || iif(image.favorite, ' favorite', '')
       || coalesce((SELECT group_concat(' t' || hex(tag.value), '') FROM json_each(image.tags) AS tag), '') AS facts
FROM image CROSS JOIN job USING (job_id);
