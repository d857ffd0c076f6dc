-- A page of the jobs in one state, newest first: along the index job_by_status.
SELECT * FROM job WHERE status = :status AND seq < :after ORDER BY seq DESC LIMIT :limit;
