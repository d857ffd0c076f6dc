-- One image with its recipe.
SELECT image.*, job.spec, engine.spec ->> '$.checkpoint' AS checkpoint
FROM image
JOIN job ON job.job_id = image.job_id
LEFT JOIN engine ON engine.engine_id = image.engine_id
WHERE image.image_id = :image_id;
