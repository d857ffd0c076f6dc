-- A change of a job or an image belongs to the API key of its job, so that others do not hear of it.
ALTER TABLE event ADD COLUMN key_id TEXT;
