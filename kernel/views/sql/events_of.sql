-- The changes of some things after a number: along the index event_by_id.
SELECT event.* FROM json_each(:ids) AS wanted
CROSS JOIN event ON event.id = wanted.value AND event.seq > :seq
ORDER BY event.seq LIMIT :limit;
