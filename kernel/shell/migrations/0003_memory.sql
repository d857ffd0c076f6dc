-- What a model needs of memory, as its inspection found (MemoryProfile, JSON); NULL: not known.
ALTER TABLE model ADD COLUMN memory TEXT;

-- Since when an engine has been wanted without there being room for it; NULL: it is not waiting for any.
ALTER TABLE engine ADD COLUMN waits_since_ms INTEGER;
