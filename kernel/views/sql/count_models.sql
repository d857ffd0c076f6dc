-- How many models are in each state.
SELECT status AS state, count(*) AS count FROM model GROUP BY status;
