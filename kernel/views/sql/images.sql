-- A page of images with their recipes, newest first: along the primary key.
SELECT image.*, job.spec, engine.spec ->> '$.checkpoint' AS checkpoint
FROM image
CROSS JOIN job ON job.job_id = image.job_id
LEFT JOIN engine ON engine.engine_id = image.engine_id
WHERE (:after IS NULL OR image.image_id < :after)
  AND (:is_gone IS NULL
       OR :is_gone = (image.gone_reason IS NOT NULL OR coalesce(image.expires_at_ms <= :now_ms, FALSE)))
ORDER BY image.image_id DESC
LIMIT :limit;
