-- image: one image with its recipe
SELECT image.*, job.spec, engine.spec ->> '$.checkpoint' AS checkpoint
FROM image
JOIN job ON job.job_id = image.job_id
LEFT JOIN engine ON engine.engine_id = image.engine_id
WHERE image.image_id = :image_id;

-- images: a page of images with their recipes, newest first: along the primary key
SELECT image.*, job.spec, engine.spec ->> '$.checkpoint' AS checkpoint
FROM image
CROSS JOIN job ON job.job_id = image.job_id
LEFT JOIN engine ON engine.engine_id = image.engine_id
WHERE (:after IS NULL OR image.image_id < :after)
  AND (:is_gone IS NULL
       OR :is_gone = (image.gone_reason IS NOT NULL OR coalesce(image.expires_at_ms <= :now_ms, FALSE)))
ORDER BY image.image_id DESC
LIMIT :limit;

-- images_by_engine: a page of one engine's images with their recipes, newest first: along the index image_by_engine
SELECT image.*, job.spec, engine.spec ->> '$.checkpoint' AS checkpoint
FROM image
CROSS JOIN job ON job.job_id = image.job_id
LEFT JOIN engine ON engine.engine_id = image.engine_id
WHERE image.engine_id = :engine_id
  AND (:after IS NULL OR image.image_id < :after)
  AND (:is_gone IS NULL
       OR :is_gone = (image.gone_reason IS NOT NULL OR coalesce(image.expires_at_ms <= :now_ms, FALSE)))
ORDER BY image.image_id DESC
LIMIT :limit;

-- images_by_job: a page of one job's images with their recipes, newest first
SELECT image.*, job.spec, engine.spec ->> '$.checkpoint' AS checkpoint
FROM image
CROSS JOIN job ON job.job_id = image.job_id
LEFT JOIN engine ON engine.engine_id = image.engine_id
WHERE image.job_id = :job_id
  AND (:engine_id IS NULL OR image.engine_id = :engine_id)
  AND (:after IS NULL OR image.image_id < :after)
  AND (:is_gone IS NULL
       OR :is_gone = (image.gone_reason IS NOT NULL OR coalesce(image.expires_at_ms <= :now_ms, FALSE)))
ORDER BY image.image_id DESC
LIMIT :limit;
