-- When an engine first went into error since it was last ready; NULL: it has not.
ALTER TABLE engine ADD COLUMN failing_since_ms INTEGER;
UPDATE engine SET failing_since_ms = unixepoch() * 1000 WHERE status = 'error';

-- When an engine in error is tried again; NULL: it is not, unless somebody starts it.
ALTER TABLE engine ADD COLUMN retry_at_ms INTEGER;
