-- Background removers: what their owner says of how they want their pictures.

ALTER TABLE model ADD COLUMN preparation TEXT;  -- JSON: input_size, mean, std; NULL: the file tells
