-- Webhooks, the receivers that jobs name, and what is sent to both. No secret is stored: it is derived (adr/0069).

CREATE TABLE webhook (
    webhook_id    TEXT PRIMARY KEY,
    url           TEXT NOT NULL,
    events        TEXT NOT NULL,        -- CallbackEvents
    created_at_ms INTEGER NOT NULL,
    generation    INTEGER NOT NULL,     -- of its secret
    key_id        TEXT,                 -- NULL: created without an API key
    ended_at_ms   INTEGER               -- NULL: it is active
) STRICT;

ALTER TABLE job ADD COLUMN callback TEXT; -- Callback; NULL: no receiver of its own

CREATE TABLE delivery (
    seq           INTEGER PRIMARY KEY,  -- a new one when it is sent again
    delivery_id   TEXT NOT NULL UNIQUE,
    event         TEXT NOT NULL,
    url           TEXT NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('waiting', 'sending', 'delivered', 'failed')),
    created_at_ms INTEGER NOT NULL,
    since_ms      INTEGER NOT NULL,     -- the beginning of its present attempts
    webhook_id    TEXT,                 -- NULL: for the job's own receiver
    job_id        TEXT,                 -- NULL: a test
    key_id        TEXT,
    attempts      INTEGER NOT NULL,
    next_at_ms    INTEGER,
    ended_at_ms   INTEGER,
    answered      INTEGER,              -- the HTTP status of the last attempt
    error         TEXT,
    body          TEXT NOT NULL
) STRICT;

CREATE INDEX delivery_by_webhook ON delivery (webhook_id, seq) WHERE webhook_id IS NOT NULL;
CREATE INDEX delivery_by_job ON delivery (job_id, seq) WHERE webhook_id IS NULL;
CREATE INDEX delivery_open ON delivery (seq) WHERE ended_at_ms IS NULL;
CREATE INDEX delivery_ended ON delivery (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
