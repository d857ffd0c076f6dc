-- preset: the caller's own preset of a name or, without one, everybody's
SELECT * FROM preset WHERE coalesce(key_id, '') IN ('', coalesce(:key_id, '')) AND name = :name
ORDER BY key_id IS NULL LIMIT 1;

-- presets: a page of the caller's presets and of everybody's, by name; its own hides everybody's of the same name
SELECT * FROM preset AS one
WHERE coalesce(key_id, '') IN ('', coalesce(:key_id, '')) AND name > :after
  AND (key_id IS NOT NULL OR :key_id IS NULL OR NOT EXISTS (
      SELECT 1 FROM preset WHERE coalesce(key_id, '') = :key_id AND name = one.name))
ORDER BY name LIMIT :limit;
