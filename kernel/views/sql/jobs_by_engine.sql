-- A page of one engine's jobs, newest first. The index job_by_engine is in another order: the inner query
-- sorts bare numbers out of it, and only the rows of the page are read.
SELECT * FROM job
WHERE seq IN (
    SELECT seq FROM job INDEXED BY job_by_engine
    WHERE engine_id = :engine_id AND seq < :after
    ORDER BY seq DESC LIMIT :limit
)
ORDER BY seq DESC;
