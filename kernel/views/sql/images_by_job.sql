-- A page of one job's images with their recipes, newest first.
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
