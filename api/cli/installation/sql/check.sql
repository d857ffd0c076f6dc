-- Queries of `spoon db check`. Each begins with a line `-- name: result`.

-- dangling: rows that refer to a missing row, one sentence each
SELECT 'job ' || job_id || ' refers to a missing engine' FROM job
WHERE status IN ('waiting', 'processing') AND engine_id NOT IN (SELECT engine_id FROM engine)
UNION ALL
SELECT 'image ' || image_id || ' refers to a missing job' FROM image
WHERE gone_reason IS NULL AND job_id NOT IN (SELECT job_id FROM job)
UNION ALL
SELECT 'input ' || blob_id || ' refers to a missing job' FROM blob
WHERE job_id NOT IN (SELECT job_id FROM job)
UNION ALL
SELECT 'engine ' || engine_id || ' refers to a missing checkpoint' FROM engine
WHERE json_extract(spec, '$.checkpoint') NOT IN (SELECT model_id FROM model);

-- has_counts: whether a server that keeps counts has been started on this database
SELECT EXISTS (SELECT * FROM sqlite_schema WHERE name = 'image_recount');

-- miscounted: counts that differ from the rows, one sentence each
SELECT 'the job counts of engine ' || engine_id || ' are wrong; restart the server to correct them'
FROM (SELECT engine_id FROM (SELECT * FROM job_count EXCEPT SELECT * FROM job_recount)
      UNION
      SELECT engine_id FROM (SELECT * FROM job_recount EXCEPT SELECT * FROM job_count))
UNION ALL
SELECT 'the image counts of engine ' || engine_id || ' are wrong; restart the server to correct them'
FROM (SELECT engine_id FROM (SELECT * FROM image_count EXCEPT SELECT * FROM image_recount)
      UNION
      SELECT engine_id FROM (SELECT * FROM image_recount EXCEPT SELECT * FROM image_count));

-- files: expected files in the folders of images and inputs: folder, name, size in bytes, sha256
SELECT 'images', file_name, size_bytes, sha256 FROM image WHERE gone_reason IS NULL
UNION ALL
SELECT 'blobs', file_name, size_bytes, sha256 FROM blob;

-- spoken_for: files that are about to be removed, or that reappeared after being marked lost, as folder/name
SELECT file_name FROM trash
UNION ALL
SELECT 'images/' || file_name FROM image WHERE gone_reason = 'lost';
