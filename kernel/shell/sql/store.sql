-- save_model: a model, new or changed
INSERT INTO model (model_id, name, uri, status, error_code, error, model_type, model_base, variant, tags,
                   trigger_words, declared_base, declared_sha256, sha256, size_bytes, memory_bytes,
                   parameters, prediction_type, native_size_px, control_type, memory, found_words, stored,
                   revision, warnings, preparation, created_at_ms, thumbnail, inspection_rules, beside)
VALUES (:model_id, :name, :uri, :status, :error_code, :error, :model_type, :model_base, :variant, :tags,
        :trigger_words, :declared_base, :declared_sha256, :sha256, :size_bytes, :memory_bytes,
        :parameters, :prediction_type, :native_size_px, :control_type, :memory, :found_words, :stored,
        :revision, :warnings, :preparation, :created_at_ms, :thumbnail, :inspection_rules, :beside)
ON CONFLICT (model_id) DO UPDATE SET
    name = excluded.name, uri = excluded.uri, thumbnail = excluded.thumbnail, tags = excluded.tags,
    trigger_words = excluded.trigger_words, preparation = excluded.preparation, declared_base = excluded.declared_base,
    status = excluded.status, error_code = excluded.error_code, error = excluded.error,
    model_type = excluded.model_type, model_base = excluded.model_base, variant = excluded.variant,
    sha256 = excluded.sha256, size_bytes = excluded.size_bytes, memory_bytes = excluded.memory_bytes,
    parameters = excluded.parameters, prediction_type = excluded.prediction_type,
    native_size_px = excluded.native_size_px, control_type = excluded.control_type, memory = excluded.memory,
    found_words = excluded.found_words, stored = excluded.stored, revision = excluded.revision,
    warnings = excluded.warnings, inspection_rules = excluded.inspection_rules, beside = excluded.beside;

-- drop_model: forget a model
DELETE FROM model WHERE model_id = ?;

-- save_scanned_file: a file in the owner's folders, new or changed
INSERT OR REPLACE INTO scanned_file (path, stamp, mark, model_id, code, reason) VALUES (?, ?, ?, ?, ?, ?);

-- drop_scanned_file: one that has gone
DELETE FROM scanned_file WHERE path = ?;

-- save_scan: how far the last scan is
INSERT OR REPLACE INTO scan (one, began_at_ms, ended_at_ms, files, to_read, read, added, changed, moved, gone, absent, error)
VALUES (1, :began_at_ms, :ended_at_ms, :files, :to_read, :read, :added, :changed, :moved, :gone, :absent, :error);

-- save_engine: an engine, new or changed
INSERT INTO engine (engine_id, name, spec, status, error_code, error, device, memory_bytes,
                    created_at_ms, started_at_ms, waits_since_ms, waits_reason, failing_since_ms,
                    retry_at_ms, paused_since_ms)
VALUES (:engine_id, :name, :spec, :status, :error_code, :error, :device, :memory_bytes,
        :created_at_ms, :started_at_ms, :waits_since_ms, :waits_reason, :failing_since_ms,
        :retry_at_ms, :paused_since_ms)
ON CONFLICT (engine_id) DO UPDATE SET
    name = excluded.name, spec = excluded.spec, status = excluded.status, error_code = excluded.error_code, error = excluded.error,
    device = excluded.device, memory_bytes = excluded.memory_bytes, started_at_ms = excluded.started_at_ms,
    waits_since_ms = excluded.waits_since_ms, waits_reason = excluded.waits_reason, failing_since_ms = excluded.failing_since_ms,
    retry_at_ms = excluded.retry_at_ms, paused_since_ms = excluded.paused_since_ms;

-- save_key_use: what an API key has ordered in an hour
INSERT INTO key_use (key_id, hour, images, pixels) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET images = excluded.images, pixels = excluded.pixels;

-- forget_key_use: the hours of an API key before another one
DELETE FROM key_use WHERE key_id = ? AND hour < ?;

-- save_key: an API key, new or changed
INSERT INTO api_key (key_id, name, role, digest, created_at_ms, issued_at_ms, weight, limits, expires_at_ms, revoked_at_ms)
VALUES (:key_id, :name, :role, :digest, :created_at_ms, :issued_at_ms, :weight, :limits, :expires_at_ms, :revoked_at_ms)
ON CONFLICT (key_id) DO UPDATE SET
    name = excluded.name, role = excluded.role, digest = excluded.digest, issued_at_ms = excluded.issued_at_ms,
    weight = excluded.weight, limits = excluded.limits, expires_at_ms = excluded.expires_at_ms,
    revoked_at_ms = excluded.revoked_at_ms;

-- save_worker_token: an enrollment token, new or changed
INSERT INTO worker_token (token_id, pool, digest, created_at_ms, max_workers, expires_at_ms, revoked_at_ms, used_at_ms)
VALUES (:token_id, :pool, :digest, :created_at_ms, :max_workers, :expires_at_ms, :revoked_at_ms, :used_at_ms)
ON CONFLICT (token_id) DO UPDATE SET revoked_at_ms = excluded.revoked_at_ms, used_at_ms = excluded.used_at_ms;

-- worker_tokens: every enrollment token
SELECT token_id, pool, digest, created_at_ms, max_workers, expires_at_ms, revoked_at_ms, used_at_ms
FROM worker_token ORDER BY token_id;

-- save_preset: a preset, new or changed
INSERT INTO preset (name, fields, created_at_ms, changed_at_ms, key_id)
VALUES (:name, :fields, :created_at_ms, :changed_at_ms, :key_id)
ON CONFLICT (coalesce(key_id, ''), name) DO UPDATE SET fields = excluded.fields, changed_at_ms = excluded.changed_at_ms;

-- drop_preset: forget a preset
DELETE FROM preset WHERE coalesce(key_id, '') = coalesce(?, '') AND name = ?;

-- save_webhook: a webhook, new or changed
INSERT INTO webhook (webhook_id, url, events, created_at_ms, generation, key_id, ended_at_ms)
VALUES (:webhook_id, :url, :events, :created_at_ms, :generation, :key_id, :ended_at_ms)
ON CONFLICT (webhook_id) DO UPDATE SET
    url = excluded.url, events = excluded.events, generation = excluded.generation, ended_at_ms = excluded.ended_at_ms;

-- drop_webhook: forget a webhook
DELETE FROM webhook WHERE webhook_id = ?;

-- drop_deliveries_of_webhook: with the webhook go its deliveries
DELETE FROM delivery WHERE webhook_id = ?;

-- add_delivery: a new delivery
INSERT INTO delivery (seq, delivery_id, event, url, status, created_at_ms, since_ms, webhook_id, job_id, key_id,
                      attempts, next_at_ms, ended_at_ms, answered, error, body)
VALUES (:seq, :delivery_id, :event, :url, :status, :created_at_ms, :since_ms, :webhook_id, :job_id, :key_id,
        :attempts, :next_at_ms, :ended_at_ms, :answered, :error, :body);

-- save_delivery: what can change of a delivery
UPDATE delivery SET seq = :seq, status = :status, since_ms = :since_ms, attempts = :attempts, next_at_ms = :next_at_ms,
                    ended_at_ms = :ended_at_ms, answered = :answered, error = :error
WHERE delivery_id = :delivery_id;

-- forget_deliveries: those that ended long ago
DELETE FROM delivery WHERE ended_at_ms < ?;

-- forget_more_deliveries: all but the newest of those that have ended
DELETE FROM delivery WHERE ended_at_ms IS NOT NULL AND seq <= (SELECT max(seq) FROM delivery) - ?;

-- trash_images_of_engine: the files of an engine's images that are still there
INSERT OR IGNORE INTO trash (file_name, since_ms)
SELECT 'images/' || file_name, :at_ms FROM image WHERE engine_id = :engine_id AND gone_reason IS NULL;

-- drop_images_of_engine: with the engine go its images, those that are there
DELETE FROM image WHERE engine_id = ? AND gone_reason IS NULL;

-- drop_gone_images_of_engine: and those that are gone: each half has its index
DELETE FROM image WHERE engine_id = ? AND gone_reason IS NOT NULL;

-- keep_name_of_engine: the name of an engine whose images are kept
INSERT INTO former_engine (engine_id, name, deleted_at_ms)
SELECT engine_id, name, :at_ms FROM engine
WHERE engine_id = :engine_id AND EXISTS (SELECT 1 FROM image WHERE image.engine_id = engine.engine_id);

-- trash_blobs_of_engine: the files that came with those of an engine's jobs that have no images, and their control maps
INSERT OR IGNORE INTO trash (file_name, since_ms)
SELECT 'blobs/' || blob.file_name, :at_ms FROM job CROSS JOIN blob USING (job_id)
WHERE job.engine_id = :engine_id AND NOT EXISTS (SELECT 1 FROM image WHERE image.job_id = job.job_id);

-- drop_blobs_of_engine: with the engine go the blobs of its jobs that have no images
DELETE FROM blob WHERE job_id IN (
    SELECT job_id FROM job
    WHERE engine_id = ? AND NOT EXISTS (SELECT 1 FROM image WHERE image.job_id = job.job_id)
);

-- drop_jobs_of_engine: with the engine go its jobs that have no images
DELETE FROM job
WHERE engine_id = ? AND NOT EXISTS (SELECT 1 FROM image WHERE image.job_id = job.job_id);

-- drop_engine: forget an engine
DELETE FROM engine WHERE engine_id = ?;

-- add_job: a new job
INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes, warnings,
                 created_at_ms, models, checkpoint, names_checkpoint, key_id, callback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- save_job: what can change of a job
UPDATE job SET status = ?, priority = ?, attempts = ?, crashes = ?, error_code = ?, error = ?, warnings = ?,
               started_at_ms = ?, finished_at_ms = ?, checkpoint = ?, lease = ?
WHERE job_id = ?;

-- trash_images_of_job: the files of a job's images that are still there
INSERT OR IGNORE INTO trash (file_name, since_ms)
SELECT 'images/' || file_name, :at_ms FROM image WHERE job_id = :job_id AND gone_reason IS NULL;

-- drop_images_of_job: with the job go its images
DELETE FROM image WHERE job_id = ?;

-- trash_blobs_of_job: the files that came with a job, and its control maps
INSERT OR IGNORE INTO trash (file_name, since_ms)
SELECT 'blobs/' || file_name, :at_ms FROM blob WHERE job_id = :job_id;

-- drop_blobs_of_job: with the job go its blobs
DELETE FROM blob WHERE job_id = ?;

-- drop_job: forget a job
DELETE FROM job WHERE job_id = ?;

-- add_image: a picture that is on the disk
INSERT INTO image (image_id, job_id, engine_id, position, file_name, mime, width_px, height_px, size_bytes,
                   sha256, seed, downloads, download_limit, created_at_ms, expires_at_ms, checkpoint)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- count_download: one more whole download
UPDATE image SET downloads = downloads + 1 WHERE image_id = ?;

-- trash_image: the file of one image, if it is still there
INSERT OR IGNORE INTO trash (file_name, since_ms)
SELECT 'images/' || file_name, :at_ms FROM image WHERE image_id = :image_id AND (gone_reason IS NULL OR gone_reason = 'lost');

-- end_image: the image is gone; one that is lost may be deleted as well
UPDATE image SET gone_reason = :reason, gone_at_ms = :at_ms
WHERE image_id = :image_id AND (gone_reason IS NULL OR gone_reason = 'lost');

-- edit_image: what people say of an image; nothing is as it was, an empty note is none
UPDATE image SET tags = coalesce(?, tags), favorite = coalesce(?, favorite), note = nullif(coalesce(?, note), '')
WHERE image_id = ?;

-- restore_image: the image was lost, and its file is there again
UPDATE image SET gone_reason = NULL, gone_at_ms = NULL WHERE image_id = ? AND gone_reason = 'lost';

-- add_blob: a file that came with a job, or a control map, that is on the disk
INSERT INTO blob (blob_id, job_id, kind, file_name, mime, size_bytes, sha256, created_at_ms, expires_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- expire_blobs: a job has ended, and the time of its blobs begins
UPDATE blob SET expires_at_ms = ? WHERE job_id = ?;

-- trash_blob: the file of one blob
INSERT OR IGNORE INTO trash (file_name, since_ms)
SELECT 'blobs/' || file_name, :at_ms FROM blob WHERE blob_id = :blob_id;

-- drop_blob: forget a blob
DELETE FROM blob WHERE blob_id = ?;

-- trash_file: a file without a row
INSERT OR IGNORE INTO trash (file_name, since_ms) VALUES (?, ?);

-- restore_file: a file that has a row again
DELETE FROM trash WHERE file_name = ?;

-- save_reply: the answer to a command
INSERT INTO idempotency (key, digest, reply, created_at_ms) VALUES (?, ?, ?, ?);

-- forget_digests: of which request each answer is
UPDATE idempotency SET digest = x'';

-- record_change: a numbered change
INSERT INTO event (seq, kind, id, state, at_ms, key_id)
VALUES (?1, ?2, ?3, ?4, ?5, iif(?2 = 'image', (
    SELECT job.key_id FROM image CROSS JOIN job USING (job_id) WHERE image.image_id = ?3
), ?6));

-- forget_replies: answers that nobody will ask for again
DELETE FROM idempotency WHERE created_at_ms < ?;

-- forget_changes: all but the newest changes
DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?;

-- stored_reply: what was answered to a command
SELECT digest, reply FROM idempotency WHERE key = ?;

-- image: one image
SELECT image_id, job_id, engine_id, position, file_name, mime, width_px, height_px, size_bytes, sha256, seed,
       downloads, download_limit, created_at_ms, expires_at_ms, gone_reason, gone_at_ms, checkpoint
FROM image WHERE image_id = ?;

-- job: one job, without its spec
SELECT job_id, seq, engine_id, status, priority, spec ->> '$.seed', image_ids, attempts, crashes,
       created_at_ms, started_at_ms, finished_at_ms, error_code, error, warnings,
       spec ->> '$.expire_after_s', spec ->> '$.delete_after_downloads', models,
       spec ->> '$.give_up_after_s', checkpoint, names_checkpoint, key_id, callback,
       spec ->> '$.width', spec ->> '$.height', lease
FROM job WHERE job_id = ?;

-- job_spec: what a job asks for
SELECT spec FROM job WHERE job_id = ?;

-- input_files: what came with a job, by kind
SELECT kind, file_name, sha256 FROM blob WHERE job_id = ?;

-- models: every model
SELECT model_id, name, uri, status, model_type, model_base, variant, tags, trigger_words, declared_base,
       declared_sha256, created_at_ms, error_code, error, sha256, size_bytes, memory_bytes, parameters,
       prediction_type, native_size_px, control_type, memory, found_words, stored, revision,
       warnings, inspection_rules, beside, preparation, thumbnail
FROM model ORDER BY model_id;

-- scanned_files: every file in the owner's folders
SELECT path, stamp, mark, model_id, code, reason FROM scanned_file;

-- scan: the last scan
SELECT began_at_ms, ended_at_ms, files, to_read, read, added, changed, moved, gone, absent, error FROM scan;

-- engines: every engine
SELECT engine_id, name, spec, status, created_at_ms, error_code, error, device, memory_bytes, started_at_ms,
       waits_since_ms, waits_reason, failing_since_ms, retry_at_ms, paused_since_ms
FROM engine ORDER BY engine_id;

-- key_uses: what API keys have ordered in the last hours
SELECT key_id, hour, images, pixels FROM key_use ORDER BY key_id, hour;

-- keys: every API key
SELECT key_id, name, role, digest, created_at_ms, issued_at_ms, weight, limits, expires_at_ms, revoked_at_ms
FROM api_key ORDER BY key_id;

-- presets: the name of every preset, and to whom it belongs
SELECT key_id, name FROM preset;

-- webhooks: every webhook
SELECT webhook_id, url, events, created_at_ms, generation, key_id, ended_at_ms FROM webhook ORDER BY webhook_id;

-- open_deliveries: what is to be sent, in order
SELECT delivery_id, seq, event, url, status, created_at_ms, since_ms, webhook_id, job_id, key_id, attempts, next_at_ms,
       ended_at_ms, answered, error
FROM delivery WHERE ended_at_ms IS NULL ORDER BY seq;

-- delivery: one delivery
SELECT delivery_id, seq, event, url, status, created_at_ms, since_ms, webhook_id, job_id, key_id, attempts, next_at_ms,
       ended_at_ms, answered, error
FROM delivery WHERE delivery_id = ?;

-- delivery_body: what is sent
SELECT body FROM delivery WHERE delivery_id = ?;

-- last_delivery_seq: the number of the newest delivery
SELECT coalesce(max(seq), 0) FROM delivery;

-- open_jobs: the jobs of one status, without their specs, in the order of arrival
SELECT job_id, seq, engine_id, status, priority, spec ->> '$.seed', image_ids, attempts, crashes,
       created_at_ms, started_at_ms, finished_at_ms, error_code, error, warnings,
       spec ->> '$.expire_after_s', spec ->> '$.delete_after_downloads', models,
       spec ->> '$.give_up_after_s', checkpoint, names_checkpoint, key_id, callback,
       spec ->> '$.width', spec ->> '$.height', lease
FROM job WHERE status = ? ORDER BY seq;

-- stored_positions: which pictures of open jobs are there already
SELECT image.job_id, image.position FROM job JOIN image USING (job_id)
WHERE job.status IN ('waiting', 'processing');

-- stored_blobs: what is there beside the images of open jobs; the others' time has begun
SELECT job_id, kind FROM blob WHERE expires_at_ms IS NULL;

-- last_change: the number of the newest change
SELECT coalesce(max(seq), 0) FROM event;

-- last_job_seq: the number of the newest job
SELECT coalesce(max(seq), 0) FROM job;

-- expired_images: images whose time is over, of one engine or of all; the longest expired first
SELECT image_id, size_bytes FROM image
WHERE gone_reason IS NULL AND expires_at_ms <= ?1 AND (?2 IS NULL OR engine_id = ?2)
ORDER BY expires_at_ms LIMIT ?3;

-- images_before: images from before a moment, oldest first
SELECT image_id, size_bytes FROM image
WHERE gone_reason IS NULL AND created_at_ms <= ?1 ORDER BY created_at_ms LIMIT ?2;

-- images_before_of_engine: those of them that are one engine's
SELECT image_id, size_bytes FROM image
WHERE gone_reason IS NULL AND engine_id = ?3 AND created_at_ms <= ?1 ORDER BY created_at_ms LIMIT ?2;

-- expired_blobs: blobs whose time is over, oldest first
SELECT blob_id FROM blob WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?;

-- kept_days: how many images there are, and their bytes, by the day of their making
SELECT day, sum(count), sum(size_bytes) FROM image_count GROUP BY day;

-- kept_days_of_engine: those of them that are one engine's
SELECT day, count, size_bytes FROM image_count WHERE engine_id = ?;

-- expired_days: how many of them have expired and are not ended yet, of one engine or of all: never many
SELECT created_at_ms / 86400000, count(*), sum(size_bytes) FROM image
WHERE gone_reason IS NULL AND expires_at_ms <= ?1 AND (?2 IS NULL OR engine_id = ?2)
GROUP BY 1;

-- kept_between: the images from a part of one day that have not expired, oldest first: from an index alone
SELECT size_bytes FROM image
WHERE gone_reason IS NULL AND created_at_ms BETWEEN ?1 AND ?2 AND coalesce(expires_at_ms > ?3, TRUE)
ORDER BY created_at_ms;

-- kept_between_of_engine: those of them that are one engine's
SELECT size_bytes FROM image
WHERE gone_reason IS NULL AND engine_id = ?4 AND created_at_ms BETWEEN ?1 AND ?2
  AND coalesce(expires_at_ms > ?3, TRUE)
ORDER BY created_at_ms;

-- oldest_images: images by age, oldest first
SELECT image_id, size_bytes FROM image WHERE gone_reason IS NULL ORDER BY created_at_ms LIMIT ?;

-- oldest_images_of_engine: those of them that are one engine's
SELECT image_id, size_bytes FROM image
WHERE gone_reason IS NULL AND engine_id = ?2 ORDER BY created_at_ms LIMIT ?1;

-- kept_images: the files that images have, of one engine or of all; most of them have one, so no index helps
SELECT file_name, image_id, size_bytes FROM image NOT INDEXED
WHERE gone_reason IS NULL AND (?1 IS NULL OR engine_id = ?1);

-- lost_images: the files that images had; one that comes back is theirs again
SELECT file_name, image_id, size_bytes FROM image WHERE gone_reason = 'lost';

-- kept_blobs: the files that blobs have
SELECT file_name FROM blob;

-- trash: files to remove
SELECT file_name FROM trash LIMIT ?;

-- forget_trash: a file that is removed
DELETE FROM trash WHERE file_name = ?;

-- meta: one number of the installation
SELECT value FROM meta WHERE name = ?;

-- set_meta: one number of the installation
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- is_miscounted: whether the triggers have come to something else than there is
SELECT EXISTS (SELECT * FROM job_count EXCEPT SELECT * FROM job_recount)
    OR EXISTS (SELECT * FROM job_recount EXCEPT SELECT * FROM job_count)
    OR EXISTS (SELECT * FROM image_count EXCEPT SELECT * FROM image_recount)
    OR EXISTS (SELECT * FROM image_recount EXCEPT SELECT * FROM image_count);

-- count_anew: count all jobs and images
DELETE FROM job_count;
INSERT INTO job_count SELECT * FROM job_recount;
DELETE FROM image_count;
INSERT INTO image_count SELECT * FROM image_recount;
