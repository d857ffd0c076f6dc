-- The images that are still there, and their bytes.
SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size_bytes FROM image WHERE gone_reason IS NULL;
