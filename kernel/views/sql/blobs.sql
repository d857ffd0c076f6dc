-- blob: one file of a job that is no image of its own
SELECT * FROM blob WHERE job_id = :job_id AND kind = :kind;

-- blobs_of: what some jobs have beside their images: along the index blob_by_job
SELECT blob.* FROM json_each(:job_ids) AS wanted
CROSS JOIN blob ON blob.job_id = wanted.value
ORDER BY blob.job_id, blob.kind;
