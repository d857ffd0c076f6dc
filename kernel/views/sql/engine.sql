-- One engine with the number of its open jobs (from the index job_by_engine alone).
SELECT
    engine.*,
    (SELECT count(*) FROM job WHERE job.engine_id = engine.engine_id AND job.status = 'waiting')
        AS jobs_waiting,
    (SELECT count(*) FROM job WHERE job.engine_id = engine.engine_id AND job.status = 'processing')
        AS jobs_processing
FROM engine
WHERE engine_id = :engine_id;
