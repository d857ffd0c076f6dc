-- event_range: the oldest and the newest number; each minimum and maximum is one step down the primary key
SELECT
    coalesce((SELECT min(seq) FROM event), 0) AS first,
    coalesce((SELECT max(seq) FROM event), 0) AS last;

-- events_after: the changes after a number
SELECT * FROM event WHERE seq > :seq ORDER BY seq LIMIT :limit;

-- events_of: the changes of some things after a number: along the index event_by_id
SELECT event.* FROM json_each(:ids) AS wanted
CROSS JOIN event ON event.id = wanted.value AND event.seq > :seq
ORDER BY event.seq LIMIT :limit;
