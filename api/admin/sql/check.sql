-- Questions of `spoon db check`. Each begins with a line `-- name: what it lists`.

-- dangling: rows that point at something that is not there, a sentence each
SELECT 'job ' || job_id || ' belongs to no engine' FROM job
WHERE engine_id NOT IN (SELECT engine_id FROM engine)
UNION ALL
SELECT 'image ' || image_id || ' belongs to no job' FROM image
WHERE gone_reason IS NULL AND job_id NOT IN (SELECT job_id FROM job)
UNION ALL
SELECT 'image ' || image_id || ' belongs to no engine' FROM image
WHERE gone_reason IS NULL AND engine_id NOT IN (SELECT engine_id FROM engine)
UNION ALL
SELECT 'input ' || blob_id || ' belongs to no job' FROM blob
WHERE job_id NOT IN (SELECT job_id FROM job)
UNION ALL
SELECT 'engine ' || engine_id || ' has a checkpoint that is not registered' FROM engine
WHERE json_extract(spec, '$.checkpoint') NOT IN (SELECT model_id FROM model);

-- has_counts: whether a server that keeps counts has been started on this database
SELECT EXISTS (SELECT * FROM sqlite_schema WHERE name = 'image_recount');

-- miscounted: counts that are not what there is, a sentence each
SELECT 'the jobs of engine ' || engine_id || ' are miscounted: the next start of the server counts them anew'
FROM (SELECT engine_id FROM (SELECT * FROM job_count EXCEPT SELECT * FROM job_recount)
      UNION
      SELECT engine_id FROM (SELECT * FROM job_recount EXCEPT SELECT * FROM job_count))
UNION ALL
SELECT 'the images of engine ' || engine_id || ' are miscounted: the next start of the server counts them anew'
FROM (SELECT engine_id FROM (SELECT * FROM image_count EXCEPT SELECT * FROM image_recount)
      UNION
      SELECT engine_id FROM (SELECT * FROM image_recount EXCEPT SELECT * FROM image_count));

-- files: what should lie in the folders of pictures and inputs: folder, name, bytes, sha256
SELECT 'images', file_name, size_bytes, sha256 FROM image WHERE gone_reason IS NULL
UNION ALL
SELECT 'blobs', file_name, size_bytes, sha256 FROM blob;

-- spoken_for: files that are about to be removed, or were called lost and have come back, as folder/name
SELECT file_name FROM trash
UNION ALL
SELECT 'images/' || file_name FROM image WHERE gone_reason = 'lost';
