-- Names for the completion of words in a shell. Each query begins with a line `-- name: result`.

-- engines: the names of all engines that have one
SELECT name FROM engine WHERE name IS NOT NULL;

-- models: the names of models, of one type or of all
SELECT DISTINCT name FROM model WHERE :model_type IS NULL OR model_type = :model_type;
