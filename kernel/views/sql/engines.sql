-- engine: one engine with the number of its open jobs (from the index job_by_engine alone)
SELECT
    engine.*,
    (SELECT count(*) FROM job WHERE job.engine_id = engine.engine_id AND job.status = 'waiting')
        AS jobs_waiting,
    (SELECT count(*) FROM job WHERE job.engine_id = engine.engine_id AND job.status = 'processing')
        AS jobs_processing
FROM engine
WHERE engine_id = :engine_id;

-- engines: a page of engines, newest first, with the number of their open jobs
SELECT
    engine.*,
    (SELECT count(*) FROM job WHERE job.engine_id = engine.engine_id AND job.status = 'waiting')
        AS jobs_waiting,
    (SELECT count(*) FROM job WHERE job.engine_id = engine.engine_id AND job.status = 'processing')
        AS jobs_processing
FROM engine
WHERE (:after IS NULL OR engine_id < :after)
  AND (:status IS NULL OR status = :status)
  AND (:name IS NULL OR name = :name)
  AND (:checkpoint IS NULL OR spec ->> '$.checkpoint' = :checkpoint)
ORDER BY engine_id DESC
LIMIT :limit;
