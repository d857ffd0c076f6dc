-- job: one job
SELECT * FROM job WHERE job_id = :job_id;

-- jobs: a page of jobs, newest first: along the primary key
SELECT * FROM job WHERE seq < :after ORDER BY seq DESC LIMIT :limit;

-- jobs_ahead: how many waiting jobs of an engine go before the one of this key with this priority and place
-- The table job_count has them by blocks of 512 places: only in the job's own block each is counted. The other keys
-- that wait have as many turns meanwhile as their weights give them, as far as they have jobs.
WITH own AS (
    SELECT
        (SELECT coalesce(sum(count), 0) FROM job_count
         WHERE engine_id = :engine_id AND status = 'waiting' AND key_id = :key_id AND priority > :priority)
      + (SELECT coalesce(sum(count), 0) FROM job_count
         WHERE engine_id = :engine_id AND status = 'waiting' AND key_id = :key_id AND priority = :priority
           AND block < :seq / 512)
      + (SELECT count(*) FROM job
         WHERE engine_id = :engine_id AND status = 'waiting' AND priority = :priority
           AND seq >= :seq / 512 * 512 AND seq < :seq AND coalesce(key_id, '') = :key_id)
        AS ahead,
        coalesce((SELECT weight FROM api_key WHERE api_key.key_id = :key_id), 1) AS weight
),
other AS (
    SELECT sum(count) AS waiting, coalesce(weight, 1) AS weight
    FROM job_count LEFT JOIN api_key USING (key_id)
    WHERE engine_id = :engine_id AND status = 'waiting' AND key_id <> :key_id
    GROUP BY key_id
)
SELECT ahead + coalesce(
    (SELECT sum(min(other.waiting, own.ahead * other.weight / own.weight)) FROM other), 0) AS ahead
FROM own;

-- jobs_by_engine: a page of one engine's jobs, newest first
-- The index job_by_engine has them by state: the lists of all states are merged, as far as the page goes.
SELECT * FROM job WHERE engine_id = :engine_id AND status = 'waiting' AND seq < :after
UNION ALL
SELECT * FROM job WHERE engine_id = :engine_id AND status = 'processing' AND seq < :after
UNION ALL
SELECT * FROM job WHERE engine_id = :engine_id AND status = 'finished' AND seq < :after
UNION ALL
SELECT * FROM job WHERE engine_id = :engine_id AND status = 'failed' AND seq < :after
UNION ALL
SELECT * FROM job WHERE engine_id = :engine_id AND status = 'cancelled' AND seq < :after
ORDER BY seq DESC LIMIT :limit;

-- jobs_by_engine_by_status: a page of one engine's jobs in one state, newest first: along the index job_by_engine
SELECT * FROM job WHERE engine_id = :engine_id AND status = :status AND seq < :after
ORDER BY seq DESC LIMIT :limit;

-- jobs_by_status: a page of the jobs in one state, newest first: along the index job_by_status
SELECT * FROM job WHERE status = :status AND seq < :after ORDER BY seq DESC LIMIT :limit;

-- jobs_by_key: a page of one key's jobs, newest first: along the index job_by_key, whose states are merged
SELECT * FROM job WHERE key_id = :key_id AND status = 'waiting' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND status = 'processing' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND status = 'finished' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND status = 'failed' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND status = 'cancelled' AND seq < :after
ORDER BY seq DESC LIMIT :limit;

-- jobs_by_key_by_status: a page of one key's jobs in one state, newest first
SELECT * FROM job WHERE key_id = :key_id AND status = :status AND seq < :after ORDER BY seq DESC LIMIT :limit;

-- jobs_by_key_by_engine: a page of one key's jobs of one engine, newest first: along job_by_key_by_engine
SELECT * FROM job WHERE key_id = :key_id AND engine_id = :engine_id AND status = 'waiting' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND engine_id = :engine_id AND status = 'processing' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND engine_id = :engine_id AND status = 'finished' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND engine_id = :engine_id AND status = 'failed' AND seq < :after
UNION ALL
SELECT * FROM job WHERE key_id = :key_id AND engine_id = :engine_id AND status = 'cancelled' AND seq < :after
ORDER BY seq DESC LIMIT :limit;

-- jobs_by_key_by_engine_by_status: a page of one key's jobs of one engine in one state, newest first
SELECT * FROM job WHERE key_id = :key_id AND engine_id = :engine_id AND status = :status AND seq < :after
ORDER BY seq DESC LIMIT :limit;

-- pace: how long an engine's last jobs took, each without the time in which one before it was still made, in ms
WITH last AS (
    SELECT started_at_ms, finished_at_ms FROM job
    WHERE engine_id = :engine_id AND status = 'finished' ORDER BY seq DESC LIMIT 16
), alone AS (
    SELECT finished_at_ms - max(started_at_ms, coalesce(lag(finished_at_ms) OVER (ORDER BY finished_at_ms), 0)) AS ms
    FROM last
)
SELECT avg(max(ms, 0)) AS job_ms FROM alone;

-- last_key: the newest idempotency key of a kind that was used since some time: along the primary key
SELECT key AS id FROM idempotency
WHERE key > :prefix AND key < :prefix || '~' AND created_at_ms >= :since_ms
ORDER BY created_at_ms DESC LIMIT 1;
