-- count_engines: how many engines are in each state
SELECT status AS state, count(*) AS count FROM engine GROUP BY status;

-- count_engine_jobs: the open jobs of each engine
SELECT coalesce(engine.name, engine.engine_id) AS name,
       coalesce(sum(count) FILTER (WHERE job_count.status = 'waiting'), 0) AS waiting,
       coalesce(sum(count) FILTER (WHERE job_count.status = 'processing'), 0) AS processing
FROM engine LEFT JOIN job_count USING (engine_id) GROUP BY engine.engine_id;

-- count_key_jobs: the open jobs of each API key that is not revoked
SELECT name,
       (SELECT coalesce(sum(count), 0) FROM job_count
        WHERE job_count.key_id = api_key.key_id AND status = 'waiting') AS waiting,
       (SELECT coalesce(sum(count), 0) FROM job_count
        WHERE job_count.key_id = api_key.key_id AND status = 'processing') AS processing
FROM api_key WHERE revoked_at_ms IS NULL;

-- tallies: what has happened to each engine's jobs and images, counted by triggers
SELECT coalesce(engine.name, tally.engine_id) AS engine, what, bound_ms, count, total
FROM tally JOIN engine USING (engine_id);

-- duration_bounds: by which the durations among them are counted
SELECT ms FROM duration_bound ORDER BY ms;

-- delivery_tallies: how many deliveries of callbacks have ended, by how
SELECT status AS state, count FROM delivery_tally;

-- count_open_deliveries: how many are under way, or wait for an attempt
SELECT status AS state, count(*) AS count FROM delivery WHERE ended_at_ms IS NULL GROUP BY status;

-- count_images: the images that are still there, and their bytes
SELECT coalesce(sum(count), 0) AS count, coalesce(sum(size_bytes), 0) AS size_bytes FROM image_count;

-- count_jobs: how many jobs are in each state
SELECT status AS state, sum(count) AS count FROM job_count GROUP BY status;

-- count_models: how many models are in each state
SELECT status AS state, count(*) AS count FROM model GROUP BY status;

-- count_queue: the open jobs of all engines, and since when all queues are paused
SELECT coalesce(sum(count) FILTER (WHERE status = 'waiting'), 0) AS waiting,
       coalesce(sum(count) FILTER (WHERE status = 'processing'), 0) AS processing,
       nullif((SELECT value FROM meta WHERE name = 'paused_since_ms'), 0) AS paused_since_ms
FROM job_count;

-- count_stored_models: the files in the models folder that models use, each once; there are few models
SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size_bytes FROM model
WHERE stored IS NOT NULL
  AND model_id = (SELECT min(first.model_id) FROM model AS first WHERE first.stored = model.stored);

-- schema_number: of the last migration
SELECT user_version AS count, 0 AS size_bytes FROM pragma_user_version;
