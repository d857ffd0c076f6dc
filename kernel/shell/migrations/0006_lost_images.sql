-- Images whose file is not there any more: a reason of their own to be gone, and the one that there is a way back from.

-- A CHECK can only be changed by making the table anew. Source: sqlite.org/lang_altertable.html, section 7.
CREATE TABLE image_anew (
    image_id       TEXT PRIMARY KEY,
    job_id         TEXT NOT NULL,
    engine_id      TEXT NOT NULL,
    position       INTEGER NOT NULL,     -- its index among the job's pictures
    file_name      TEXT NOT NULL,        -- below images.folder
    mime           TEXT NOT NULL,
    width_px       INTEGER NOT NULL,
    height_px      INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    sha256         TEXT NOT NULL,
    seed           INTEGER NOT NULL,
    downloads      INTEGER NOT NULL,     -- whole ones only
    download_limit INTEGER,              -- the file goes with the last of them; NULL: no limit
    created_at_ms  INTEGER NOT NULL,
    expires_at_ms  INTEGER,              -- NULL: never
    gone_reason    TEXT CHECK (gone_reason IN ('expired', 'used_up', 'quota', 'deleted', 'lost')),
    gone_at_ms     INTEGER
) STRICT;

INSERT INTO image_anew
SELECT image_id, job_id, engine_id, position, file_name, mime, width_px, height_px, size_bytes, sha256, seed,
       downloads, download_limit, created_at_ms, expires_at_ms, gone_reason, gone_at_ms
FROM image;

DROP TABLE image;
ALTER TABLE image_anew RENAME TO image;

CREATE INDEX image_by_job ON image (job_id);
CREATE INDEX image_by_engine ON image (engine_id, image_id);
CREATE INDEX image_to_expire ON image (expires_at_ms) WHERE gone_reason IS NULL;
CREATE INDEX image_by_age ON image (created_at_ms) WHERE gone_reason IS NULL;
CREATE INDEX image_lost ON image (image_id) WHERE gone_reason = 'lost';
