-- image: one image with its recipe
SELECT image.*, job.spec, job.key_id
FROM image
JOIN job ON job.job_id = image.job_id
WHERE image.image_id = :image_id;

-- images_named: images by their ids
SELECT image.*, job.spec, job.key_id FROM json_each(:ids) AS wanted
CROSS JOIN image ON image.image_id = wanted.value
CROSS JOIN job ON job.job_id = image.job_id;

-- images: a page of images with their recipes, newest first: along the primary key
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.image_id < :after
ORDER BY image.image_id DESC
LIMIT :limit;

-- images_kept: those of them that are there: along the index image_kept
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NULL AND image.image_id < :after
  AND coalesce(image.expires_at_ms > :now_ms, TRUE)
ORDER BY image.image_id DESC
LIMIT :limit;

-- images_gone: those that are gone, along the index image_gone, and between them those whose time is over
-- but which are not ended yet: of these there are never many, and they alone have to be sorted
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NOT NULL AND image.image_id < :after
UNION ALL
SELECT image.*, job.spec, job.key_id
FROM image INDEXED BY image_to_expire
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NULL AND image.image_id < :after
  AND image.expires_at_ms <= :now_ms
ORDER BY image_id DESC
LIMIT :limit;

-- images_by_engine: a page of one engine's images, newest first: the two halves are merged
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NULL AND image.image_id < :after
  AND image.engine_id = :engine_id
UNION ALL
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NOT NULL AND image.image_id < :after
  AND image.engine_id = :engine_id
ORDER BY image_id DESC
LIMIT :limit;

-- images_by_engine_kept: those of them that are there: along the index image_kept_by_engine
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NULL AND image.image_id < :after
  AND image.engine_id = :engine_id
  AND coalesce(image.expires_at_ms > :now_ms, TRUE)
ORDER BY image.image_id DESC
LIMIT :limit;

-- images_by_engine_gone: those of them that are gone; see images_gone
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NOT NULL AND image.image_id < :after
  AND image.engine_id = :engine_id
UNION ALL
SELECT image.*, job.spec, job.key_id
FROM image INDEXED BY image_to_expire
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.gone_reason IS NULL AND image.image_id < :after
  AND image.engine_id = :engine_id
  AND image.expires_at_ms <= :now_ms
ORDER BY image_id DESC
LIMIT :limit;

-- images_by_job: a page of one job's images with their recipes, newest first; there are few of them
SELECT image.*, job.spec, job.key_id
FROM image
CROSS JOIN job ON job.job_id = image.job_id
WHERE image.job_id = :job_id AND image.image_id < :after
  AND (:engine_id IS NULL OR image.engine_id = :engine_id)
  AND (:is_gone IS NULL
       OR :is_gone = (image.gone_reason IS NOT NULL OR coalesce(image.expires_at_ms <= :now_ms, FALSE)))
ORDER BY image.image_id DESC
LIMIT :limit;

-- images_of_jobs: the ids of the images that some jobs have: along the index image_by_job
SELECT image.image_id AS id FROM json_each(:job_ids) AS wanted
CROSS JOIN image ON image.job_id = wanted.value;

-- image_pages: the last image of each full page of a list: along the primary key, of which every image is looked at
WITH RECURSIVE mark (id) AS (
    SELECT (SELECT image_id FROM image
            WHERE (:engine_id IS NULL OR engine_id = :engine_id)
              AND (:is_gone IS NULL OR :is_gone = (gone_reason IS NOT NULL OR coalesce(expires_at_ms <= :now_ms, FALSE)))
            ORDER BY image_id DESC LIMIT 1 OFFSET :limit - 1)
    UNION ALL
    SELECT (SELECT image_id FROM image
            WHERE image_id < mark.id AND (:engine_id IS NULL OR engine_id = :engine_id)
              AND (:is_gone IS NULL OR :is_gone = (gone_reason IS NOT NULL OR coalesce(expires_at_ms <= :now_ms, FALSE)))
            ORDER BY image_id DESC LIMIT 1 OFFSET :limit - 1)
    FROM mark WHERE id IS NOT NULL
)
SELECT id FROM mark WHERE id IS NOT NULL;

-- image_pages_kept: the same of the images that are there: along the index image_kept
WITH RECURSIVE mark (id) AS (
    SELECT (SELECT image_id FROM image
            WHERE gone_reason IS NULL AND coalesce(expires_at_ms > :now_ms, TRUE)
            ORDER BY image_id DESC LIMIT 1 OFFSET :limit - 1)
    UNION ALL
    SELECT (SELECT image_id FROM image
            WHERE gone_reason IS NULL AND image_id < mark.id AND coalesce(expires_at_ms > :now_ms, TRUE)
            ORDER BY image_id DESC LIMIT 1 OFFSET :limit - 1)
    FROM mark WHERE id IS NOT NULL
)
SELECT id FROM mark WHERE id IS NOT NULL;
