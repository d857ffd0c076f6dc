-- engine: one engine with the number of its open jobs (from the table job_count)
SELECT
    engine.*,
    (SELECT coalesce(sum(count), 0) FROM job_count AS jobs
     WHERE jobs.engine_id = engine.engine_id AND jobs.status = 'waiting')
        AS jobs_waiting,
    (SELECT coalesce(sum(count), 0) FROM job_count AS jobs
     WHERE jobs.engine_id = engine.engine_id AND jobs.status = 'processing')
        AS jobs_processing
FROM engine
WHERE engine_id = :engine_id;

-- engines: a page of engines, newest first, with the number of their open jobs. There are few engines:
-- the filters need no index
SELECT
    engine.*,
    (SELECT coalesce(sum(count), 0) FROM job_count AS jobs
     WHERE jobs.engine_id = engine.engine_id AND jobs.status = 'waiting')
        AS jobs_waiting,
    (SELECT coalesce(sum(count), 0) FROM job_count AS jobs
     WHERE jobs.engine_id = engine.engine_id AND jobs.status = 'processing')
        AS jobs_processing
FROM engine
WHERE engine_id < :after
  AND (:status IS NULL OR status = :status)
  AND (:name IS NULL OR name = :name)
  AND (:checkpoint IS NULL OR spec ->> '$.checkpoint' = :checkpoint)
ORDER BY engine_id DESC
LIMIT :limit;

-- failing_engines: those that have failed and were not ready since
SELECT engine_id, status, error_code, error, waits_since_ms, retry_at_ms
FROM engine WHERE error_code IS NOT NULL;
