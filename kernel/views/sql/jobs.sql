-- job: one job
SELECT * FROM job WHERE job_id = :job_id;

-- jobs: a page of jobs, newest first: along the primary key
SELECT * FROM job WHERE seq < :after ORDER BY seq DESC LIMIT :limit;

-- jobs_ahead: how many waiting jobs of an engine go before the one with this priority and place
SELECT
    (SELECT count(*) FROM job
     WHERE engine_id = :engine_id AND status = 'waiting' AND priority > :priority)
  + (SELECT count(*) FROM job
     WHERE engine_id = :engine_id AND status = 'waiting' AND priority = :priority AND seq < :seq)
    AS ahead;

-- jobs_by_engine: a page of one engine's jobs, newest first
-- The index job_by_engine is in another order: the inner query
-- sorts bare numbers out of it, and only the rows of the page are read.
SELECT * FROM job
WHERE seq IN (
    SELECT seq FROM job INDEXED BY job_by_engine
    WHERE engine_id = :engine_id AND seq < :after
    ORDER BY seq DESC LIMIT :limit
)
ORDER BY seq DESC;

-- jobs_by_engine_by_status: a page of one engine's jobs in one state, newest first; see jobs_by_engine
SELECT * FROM job
WHERE seq IN (
    SELECT seq FROM job INDEXED BY job_by_engine
    WHERE engine_id = :engine_id AND status = :status AND seq < :after
    ORDER BY seq DESC LIMIT :limit
)
ORDER BY seq DESC;

-- jobs_by_status: a page of the jobs in one state, newest first: along the index job_by_status
SELECT * FROM job WHERE status = :status AND seq < :after ORDER BY seq DESC LIMIT :limit;
