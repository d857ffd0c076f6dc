-- Models that were downloaded or uploaded: where they are kept, and what they were taken from.

ALTER TABLE model ADD COLUMN found_words TEXT NOT NULL DEFAULT '[]';  -- trigger words, by the model's metadata
ALTER TABLE model ADD COLUMN stored TEXT;    -- below models.folder; NULL: it is used where it lies
ALTER TABLE model ADD COLUMN revision TEXT;  -- the commit of the repository that it came from
