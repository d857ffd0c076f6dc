-- count_engines: how many engines are in each state
SELECT status AS state, count(*) AS count FROM engine GROUP BY status;

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
