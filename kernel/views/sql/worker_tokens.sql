-- worker_token: one enrollment token
SELECT * FROM worker_token WHERE token_id = :token_id;

-- worker_tokens: a page of enrollment tokens, newest first
SELECT * FROM worker_token WHERE token_id < :after ORDER BY token_id DESC LIMIT :limit;
