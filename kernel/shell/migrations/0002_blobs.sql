-- Files that come with jobs, control maps, and the models that a job names beside its engine's checkpoint.

-- No version before this one wrote blobs, so the table is made anew: what kind of file it is, and a time that
-- begins only when the job has ended.
DROP TABLE blob;

CREATE TABLE blob (
    blob_id       TEXT PRIMARY KEY,
    job_id        TEXT NOT NULL,
    kind          TEXT NOT NULL,         -- BlobKind: reference, mask, pose, map_openpose ...
    file_name     TEXT NOT NULL,         -- below blobs.folder
    mime          TEXT NOT NULL,
    size_bytes    INTEGER NOT NULL,
    sha256        TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER                -- NULL: its job is open
) STRICT;

CREATE UNIQUE INDEX blob_by_job ON blob (job_id, kind);
CREATE INDEX blob_to_expire ON blob (expires_at_ms);

ALTER TABLE job ADD COLUMN models TEXT NOT NULL DEFAULT '[]';  -- the ids of the models that its spec names
ALTER TABLE model ADD COLUMN control_type TEXT;                -- of a ControlNet
