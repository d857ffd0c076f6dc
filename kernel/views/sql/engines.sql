-- engine: the engine with this id, or else with this name, with the number of its open jobs (from the table job_count)
SELECT
    engine.*,
    coalesce(nullif((SELECT value FROM meta WHERE name = 'paused_since_ms'), 0), paused_since_ms)
        AS jobs_paused_since_ms,
    (SELECT coalesce(sum(count), 0) FROM job_count AS jobs
     WHERE jobs.engine_id = engine.engine_id AND jobs.status = 'waiting')
        AS jobs_waiting,
    (SELECT coalesce(sum(count), 0) FROM job_count AS jobs
     WHERE jobs.engine_id = engine.engine_id AND jobs.status = 'processing')
        AS jobs_processing
FROM engine
WHERE engine_id = coalesce(
    (SELECT engine_id FROM engine WHERE engine_id = :engine),
    (SELECT engine_id FROM engine WHERE name = :engine)
);

-- engines: a page of engines, newest first, with the number of their open jobs. There are few engines:
-- the filters need no index
SELECT
    engine.*,
    coalesce(nullif((SELECT value FROM meta WHERE name = 'paused_since_ms'), 0), paused_since_ms)
        AS jobs_paused_since_ms,
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
  AND (:checkpoint IS NULL OR spec ->> '$.checkpoint' = :checkpoint
       OR spec ->> '$.checkpoint' IN (SELECT model_id FROM model WHERE name = :checkpoint))
ORDER BY engine_id DESC
LIMIT :limit;

-- failing_engines: those that have failed and were not ready since
SELECT
    engine_id, status, error_code, error, waits_since_ms, retry_at_ms,
    coalesce(nullif((SELECT value FROM meta WHERE name = 'paused_since_ms'), 0), paused_since_ms)
        AS jobs_paused_since_ms,
    spec ->> '$.pool' AS pool
FROM engine WHERE error_code IS NOT NULL;

-- job_targets: the engines that a job may name, then the ready checkpoints, each oldest first, with the size in pixels
-- of the images that they make by default
SELECT
    engine.engine_id AS id, engine.name, 1 AS is_engine, engine.created_at_ms,
    coalesce(engine.spec ->> '$.width', model.native_size_px) AS width_px,
    coalesce(engine.spec ->> '$.height', model.native_size_px) AS height_px
FROM engine LEFT JOIN model ON model.model_id = engine.spec ->> '$.checkpoint'
UNION ALL
SELECT model_id, name, 0, created_at_ms, native_size_px, native_size_px
FROM model WHERE model_type = 'checkpoint' AND status = 'ready'
ORDER BY is_engine DESC, created_at_ms, id;
