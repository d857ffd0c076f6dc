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
ORDER BY model_id DESC
LIMIT :limit;
