-- The first schema. Times are milliseconds since 1970 UTC; lists and specs are JSON; every table is STRICT.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE model (
    model_id        TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    uri             TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('downloading', 'ready', 'error')),
    error_code      TEXT,
    error           TEXT,
    model_type      TEXT NOT NULL,
    model_base      TEXT,
    variant         TEXT,
    tags            TEXT NOT NULL,
    trigger_words   TEXT NOT NULL,
    declared_base   TEXT,     -- what the person said, kept apart from what inspection found
    declared_sha256 TEXT,
    sha256          TEXT,
    size_bytes      INTEGER,
    memory_bytes    INTEGER,
    parameters      INTEGER,
    prediction_type TEXT,
    native_size_px  INTEGER,
    created_at_ms   INTEGER NOT NULL
) STRICT;

CREATE TABLE engine (
    engine_id     TEXT PRIMARY KEY,
    name          TEXT UNIQUE,
    spec          TEXT NOT NULL,  -- EngineSpec
    status        TEXT NOT NULL
                  CHECK (status IN ('closed', 'starting', 'ready', 'working', 'stopping', 'error')),
    error_code    TEXT,
    error         TEXT,
    device        TEXT,
    memory_bytes  INTEGER,
    created_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER
) STRICT;

CREATE TABLE job (
    seq            INTEGER PRIMARY KEY,  -- the order of arrival
    job_id         TEXT NOT NULL UNIQUE,
    engine_id      TEXT NOT NULL,
    status         TEXT NOT NULL
                   CHECK (status IN ('waiting', 'processing', 'finished', 'failed', 'cancelled')),
    priority       INTEGER NOT NULL,
    spec           TEXT NOT NULL,        -- JobSpec
    image_ids      TEXT NOT NULL,        -- in the order of their index
    attempts       INTEGER NOT NULL,     -- how often it was given to a worker
    crashes        INTEGER NOT NULL,     -- how often that worker died
    error_code     TEXT,
    error          TEXT,
    warnings       TEXT NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    started_at_ms  INTEGER,
    finished_at_ms INTEGER
) STRICT;

CREATE INDEX job_by_status ON job (status, seq);
CREATE INDEX job_by_engine ON job (engine_id, status, priority DESC, seq);

CREATE TABLE image (
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
    gone_reason    TEXT CHECK (gone_reason IN ('expired', 'used_up', 'quota', 'deleted')),
    gone_at_ms     INTEGER
) STRICT;

CREATE INDEX image_by_job ON image (job_id);
CREATE INDEX image_by_engine ON image (engine_id, image_id);
CREATE INDEX image_to_expire ON image (expires_at_ms) WHERE gone_reason IS NULL;
CREATE INDEX image_by_age ON image (created_at_ms) WHERE gone_reason IS NULL;

CREATE TABLE blob (
    blob_id       TEXT PRIMARY KEY,
    job_id        TEXT NOT NULL,
    file_name     TEXT NOT NULL,         -- below blobs.folder
    mime          TEXT NOT NULL,
    size_bytes    INTEGER NOT NULL,
    sha256        TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX blob_by_job ON blob (job_id);
CREATE INDEX blob_to_expire ON blob (expires_at_ms);

CREATE TABLE idempotency (
    key           TEXT PRIMARY KEY,
    digest        BLOB NOT NULL,
    reply         BLOB NOT NULL,         -- the encoded BrokerReply
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX idempotency_by_age ON idempotency (created_at_ms);

CREATE TABLE event (
    seq    INTEGER PRIMARY KEY,
    kind   TEXT NOT NULL,
    id     TEXT NOT NULL,
    state  TEXT NOT NULL,
    at_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX event_by_id ON event (id, seq);

-- Files whose rows are gone: removed after the commit, and again after a crash, until they are no more.
CREATE TABLE trash (
    file_name TEXT PRIMARY KEY,          -- folder/name, where folder is images or blobs
    since_ms  INTEGER NOT NULL
) STRICT;
