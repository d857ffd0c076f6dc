-- How many waiting jobs of an engine go before the one with this priority and place.
SELECT
    (SELECT count(*) FROM job
     WHERE engine_id = :engine_id AND status = 'waiting' AND priority > :priority)
  + (SELECT count(*) FROM job
     WHERE engine_id = :engine_id AND status = 'waiting' AND priority = :priority AND seq < :seq)
    AS ahead;
