-- How many engines are in each state.
SELECT status AS state, count(*) AS count FROM engine GROUP BY status;
