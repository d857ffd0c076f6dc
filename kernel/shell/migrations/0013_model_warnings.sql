-- What the owner of a model should know although it can be used, such as that it has no VAE, as JSON.

ALTER TABLE model ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';
