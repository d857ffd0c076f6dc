-- webhook: one webhook
SELECT * FROM webhook WHERE webhook_id = :webhook_id;

-- webhooks: a page of webhooks, newest first, of one API key or of all; there are few
SELECT * FROM webhook WHERE webhook_id < :after AND (:key_id IS NULL OR key_id = :key_id)
ORDER BY webhook_id DESC LIMIT :limit;

-- delivery: one delivery
SELECT * FROM delivery WHERE delivery_id = :delivery_id;

-- deliveries_of_webhook: a page of what is sent to a webhook, newest first
SELECT * FROM delivery WHERE webhook_id = :webhook_id AND seq < :after ORDER BY seq DESC LIMIT :limit;

-- deliveries_of_job: a page of what is sent to a job's own receiver, newest first
SELECT * FROM delivery WHERE webhook_id IS NULL AND job_id = :job_id AND seq < :after ORDER BY seq DESC LIMIT :limit;
