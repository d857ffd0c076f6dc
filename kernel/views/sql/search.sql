-- jobs_found: a page of the jobs that a search finds, newest first: the index has them in this order
SELECT job.*
FROM job_search AS found
CROSS JOIN job ON job.seq = found.rowid
WHERE found.job_search MATCH :match AND found.rowid BETWEEN :low AND :high
  AND (:status IS NULL OR job.status = :status)
  AND job.created_at_ms >= :created_after_ms AND job.created_at_ms < :created_before_ms
ORDER BY found.rowid DESC
LIMIT :limit;

-- jobs_found_processing: those of them that are processed: there are never many, and they alone are looked at
SELECT job.*
FROM job
CROSS JOIN job_search AS found ON found.rowid = job.seq
WHERE job.status = 'processing' AND found.job_search MATCH :match AND job.seq BETWEEN :low AND :high
  AND job.created_at_ms >= :created_after_ms AND job.created_at_ms < :created_before_ms
ORDER BY job.seq DESC
LIMIT :limit;

-- images_found: a page of the images that a search finds, newest first: the index has them in this order
SELECT image.*, job.spec, job.key_id, found.rowid AS place
FROM image_search AS found
CROSS JOIN image ON image.image_id = found.image_id
CROSS JOIN job ON job.job_id = image.job_id
WHERE found.image_search MATCH :match AND found.rowid BETWEEN :low AND :high
  AND (:is_gone IS NULL OR coalesce(image.expires_at_ms > :now_ms, TRUE))
  AND image.created_at_ms >= :created_after_ms AND image.created_at_ms < :created_before_ms
ORDER BY found.rowid DESC
LIMIT :limit;

-- images_found_total: how many images a search finds, and their bytes: each of them is looked at
SELECT count(*) AS count, coalesce(sum(image.size_bytes), 0) AS size_bytes
FROM image_search AS found
CROSS JOIN image ON image.image_id = found.image_id
WHERE found.image_search MATCH :match AND found.rowid BETWEEN :low AND :high
  AND (:is_gone IS NULL OR coalesce(image.expires_at_ms > :now_ms, TRUE))
  AND image.created_at_ms >= :created_after_ms AND image.created_at_ms < :created_before_ms;

-- images_found_gone: those of them that are gone, and those whose time is over but which are not ended yet: see
-- images_gone
SELECT image.*, job.spec, job.key_id, found.rowid AS place
FROM image_search AS found
CROSS JOIN image ON image.image_id = found.image_id
CROSS JOIN job ON job.job_id = image.job_id
WHERE found.image_search MATCH :match AND found.rowid BETWEEN :low AND :high
  AND image.created_at_ms >= :created_after_ms AND image.created_at_ms < :created_before_ms
UNION ALL
SELECT image.*, job.spec, job.key_id, found.rowid AS place
FROM image INDEXED BY image_to_expire
CROSS JOIN job ON job.job_id = image.job_id
CROSS JOIN image_search AS found ON found.rowid = job.seq * 16384 + image.position
WHERE image.gone_reason IS NULL AND image.expires_at_ms <= :now_ms
  AND found.image_search MATCH :match_kept AND found.rowid BETWEEN :low AND :high
  AND image.created_at_ms >= :created_after_ms AND image.created_at_ms < :created_before_ms
ORDER BY place DESC
LIMIT :limit;

-- image_pages_found: the last image of each full page of what a search finds, by its place: the index alone knows
-- it, unless a date is asked for; of images whose time is over but which are not ended yet there are never many
SELECT place AS id FROM (
    SELECT found.rowid AS place, row_number() OVER (ORDER BY found.rowid DESC) AS number
    FROM image_search AS found
    WHERE found.image_search MATCH :match AND found.rowid BETWEEN :low AND :high
      AND (:is_gone IS NULL OR found.rowid NOT IN (
          SELECT job.seq * 16384 + image.position
          FROM image INDEXED BY image_to_expire CROSS JOIN job ON job.job_id = image.job_id
          WHERE image.gone_reason IS NULL AND image.expires_at_ms <= :now_ms
      ))
      AND (NOT :is_dated OR EXISTS (
          SELECT 1 FROM image
          WHERE image.image_id = found.image_id
            AND image.created_at_ms >= :created_after_ms AND image.created_at_ms < :created_before_ms
      ))
) WHERE number % :limit = 0;

-- image_pages_found_gone: the same of those that are gone, and of those whose time is over: see images_gone
SELECT place AS id FROM (
    SELECT place, row_number() OVER (ORDER BY place DESC) AS number
    FROM (
        SELECT found.rowid AS place, found.image_id
        FROM image_search AS found
        WHERE found.image_search MATCH :match AND found.rowid BETWEEN :low AND :high
        UNION ALL
        SELECT found.rowid AS place, image.image_id
        FROM image INDEXED BY image_to_expire
        CROSS JOIN job ON job.job_id = image.job_id
        CROSS JOIN image_search AS found ON found.rowid = job.seq * 16384 + image.position
        WHERE image.gone_reason IS NULL AND image.expires_at_ms <= :now_ms
          AND found.image_search MATCH :match_kept AND found.rowid BETWEEN :low AND :high
    ) AS alone
    WHERE NOT :is_dated OR EXISTS (
        SELECT 1 FROM image
        WHERE image.image_id = alone.image_id
          AND image.created_at_ms >= :created_after_ms AND image.created_at_ms < :created_before_ms
    )
) WHERE number % :limit = 0;

-- engines_meant: the engines with an id or a name, also deleted ones whose images were kept; there are few engines
SELECT engine_id AS id FROM engine WHERE :engine IN (engine_id, name)
UNION ALL
SELECT engine_id FROM former_engine WHERE engine_id = :engine OR name = :engine;

-- models_meant: the models of one type with a name; there are few models
SELECT model_id AS id FROM model WHERE name = :name AND model_type = :model_type;

-- range_of_periods: the numbers that the jobs or images of some time have, and maybe some others
SELECT (SELECT coalesce(min(low), 1) FROM time_range WHERE kind = :kind AND (:first IS NULL OR period >= :first)) AS low,
       (SELECT coalesce(max(high), 0) FROM time_range WHERE kind = :kind AND (:last IS NULL OR period <= :last)) AS high;
