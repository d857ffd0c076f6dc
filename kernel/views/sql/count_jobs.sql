-- How many jobs are in each state.
SELECT status AS state, count(*) AS count FROM job GROUP BY status;
