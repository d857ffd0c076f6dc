-- The folders of the owner's own models: each file in them as it was last read, with the model that was made of it or
-- the reason why none was, and the last scan (one row). thumbnail: the path of the image beside a model's file.

ALTER TABLE model ADD COLUMN thumbnail TEXT;

CREATE TABLE scanned_file (
    path     TEXT NOT NULL PRIMARY KEY,
    stamp    INTEGER NOT NULL,
    mark     TEXT NOT NULL,
    model_id TEXT,
    code     TEXT,
    reason   TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE scan (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    began_at_ms INTEGER,
    ended_at_ms INTEGER,
    files       INTEGER NOT NULL,
    to_read     INTEGER NOT NULL,
    read        INTEGER NOT NULL,
    added       INTEGER NOT NULL,
    changed     INTEGER NOT NULL,
    moved       INTEGER NOT NULL,
    gone        INTEGER NOT NULL,
    absent      TEXT NOT NULL,
    error       TEXT
) STRICT;
