-- A page of one engine's jobs in one state, newest first; for the inner query see jobs_by_engine.
SELECT * FROM job
WHERE seq IN (
    SELECT seq FROM job INDEXED BY job_by_engine
    WHERE engine_id = :engine_id AND status = :status AND seq < :after
    ORDER BY seq DESC LIMIT :limit
)
ORDER BY seq DESC;
