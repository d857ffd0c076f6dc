-- The oldest and the newest number; each minimum and maximum is one step down the primary key.
SELECT
    coalesce((SELECT min(seq) FROM event), 0) AS first,
    coalesce((SELECT max(seq) FROM event), 0) AS last;
