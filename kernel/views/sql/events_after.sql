-- The changes after a number.
SELECT * FROM event WHERE seq > :seq ORDER BY seq LIMIT :limit;
