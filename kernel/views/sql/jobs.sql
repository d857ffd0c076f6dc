-- A page of jobs, newest first: along the primary key.
SELECT * FROM job WHERE seq < :after ORDER BY seq DESC LIMIT :limit;
