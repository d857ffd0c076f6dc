-- Enrollment tokens of pools, of which only digests are kept, and the lease under which a job was last given out.

CREATE TABLE worker_token (
    token_id      TEXT PRIMARY KEY,
    pool          TEXT NOT NULL,
    digest        TEXT NOT NULL,        -- SHA-256 of the token
    created_at_ms INTEGER NOT NULL,
    max_workers   INTEGER,              -- at a time; NULL: any number
    expires_at_ms INTEGER,              -- NULL: never
    revoked_at_ms INTEGER,
    used_at_ms    INTEGER               -- when a worker last joined with it
) STRICT;

ALTER TABLE job ADD COLUMN lease INTEGER; -- NULL: not given out since this column exists
