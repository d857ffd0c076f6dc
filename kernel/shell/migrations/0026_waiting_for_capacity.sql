-- For what an engine of a pool waits: a worker that starts, or capacity, in the words of its scheduler.

ALTER TABLE engine ADD COLUMN waits_reason TEXT;
