-- Since when a person has paused the queue of an engine; since when all of them: the number paused_since_ms of the
-- table meta, 0 or none if they are not.

ALTER TABLE engine ADD COLUMN paused_since_ms INTEGER;
