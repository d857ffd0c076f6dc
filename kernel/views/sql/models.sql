-- model: one model
SELECT * FROM model WHERE model_id = :model_id;

-- model_of: a model that comes from an address; there are few models, so that this needs no index
SELECT * FROM model WHERE uri = :uri LIMIT 1;

-- models: a page of models, newest first. There are few models: the filters need no index
SELECT * FROM model
WHERE model_id < :after
  AND (:status IS NULL OR status = :status)
  AND (:model_type IS NULL OR model_type = :model_type)
  AND (:model_base IS NULL OR model_base = :model_base)
  AND (:name IS NULL OR name = :name)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(model.tags) AS tag WHERE tag.value = :tag))
  AND (:search IS NULL
       OR instr(lower(concat_ws(char(10), name, tags, trigger_words, found_words, uri)), lower(:search)) > 0)
ORDER BY model_id DESC
LIMIT :limit;

-- names: of models, of API keys and of engines, also of deleted ones whose images were kept, by their ids
SELECT model_id AS id, name FROM model WHERE model_id IN (SELECT value FROM json_each(:ids) AS wanted)
UNION ALL
SELECT engine_id, name FROM engine WHERE engine_id IN (SELECT value FROM json_each(:ids) AS wanted) AND name IS NOT NULL
UNION ALL
SELECT engine_id, name FROM former_engine
WHERE engine_id IN (SELECT value FROM json_each(:ids) AS wanted) AND name IS NOT NULL
UNION ALL
SELECT key_id, name FROM api_key WHERE key_id IN (SELECT value FROM json_each(:ids) AS wanted);

-- models_named: a few of the models with a name: there are few models, so that this needs no index
SELECT * FROM model WHERE name = :name ORDER BY model_id DESC LIMIT :limit;

-- models_for: a page of the ready models that fit an engine with this checkpoint, newest first. One whose files do
-- not tell its base is taken to fit, as when it is used
SELECT * FROM model
WHERE model_id < :after AND status = 'ready' AND model_type <> 'checkpoint'
  AND (:model_type IS NULL OR model_type = :model_type)
  AND coalesce(model_base = (SELECT model_base FROM model WHERE model_id = :checkpoint), TRUE)
ORDER BY model_id DESC
LIMIT :limit;

-- models_called: models of a type by a name, a file name, or the first digits of a sha256, newest first
SELECT * FROM model
WHERE model_type = :model_type
  AND (:digest <> '' AND substr(sha256, 1, length(:digest)) = :digest
       OR :name <> '' AND lower(name) IN (lower(:name), lower(:stem))
       OR :file <> '' AND instr(lower(uri), lower(:file)) > 0)
ORDER BY model_id DESC
LIMIT :limit;

-- last_scan: the last scan of models.folders, if there was one
SELECT began_at_ms, ended_at_ms, files, to_read, read, added, changed, moved, gone, absent, error FROM scan;

-- count_unusable: files of which there is no usable model. There are few files: this needs no index
SELECT count(*) AS count, 0 AS size_bytes FROM scanned_file WHERE code IS NOT NULL;

-- unusable: a page of them, by path
SELECT path, stamp, mark, model_id, code, reason FROM scanned_file
WHERE code IS NOT NULL AND path > :after ORDER BY path LIMIT :limit;
