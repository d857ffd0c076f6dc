-- What API keys with a limit by the day have ordered in the last hours.

CREATE TABLE key_use (
    key_id TEXT NOT NULL,
    hour   INTEGER NOT NULL, -- since 1970 UTC
    images INTEGER NOT NULL,
    pixels INTEGER NOT NULL,
    PRIMARY KEY (key_id, hour)
) STRICT, WITHOUT ROWID;
