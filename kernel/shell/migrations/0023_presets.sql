-- Presets: named sets of a job's fields (adr/0071).

CREATE TABLE preset (
    name          TEXT NOT NULL,
    fields        TEXT NOT NULL,        -- JSON, as the API has checked it
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    key_id        TEXT                  -- NULL: everybody's
) STRICT;

CREATE UNIQUE INDEX preset_by_owner ON preset (coalesce(key_id, ''), name);
