-- key_named: the API key with this id, or else the newest with this name, first one that is not revoked; there are few
SELECT * FROM api_key WHERE :key IN (key_id, name)
ORDER BY key_id = :key DESC, revoked_at_ms IS NULL DESC, key_id DESC LIMIT 1;

-- all_keys: every API key, newest first; there are few
SELECT * FROM api_key ORDER BY key_id DESC;

-- keys: a page of API keys, newest first
SELECT * FROM api_key WHERE key_id < :after ORDER BY key_id DESC LIMIT :limit;

-- has_keys: whether there are API keys, also expired and revoked ones
SELECT key_id AS id FROM api_key LIMIT 1;
