-- How the deliveries of callbacks have ended since this version, for /metrics (adr/0066): their rows are forgotten after a
-- while. One that is sent again and ends again counts again.

CREATE TABLE delivery_tally (
    status TEXT PRIMARY KEY,             -- delivered, failed
    count  INTEGER NOT NULL
) STRICT;

CREATE TRIGGER delivery_ends AFTER UPDATE OF status ON delivery
WHEN old.ended_at_ms IS NULL AND new.ended_at_ms IS NOT NULL
BEGIN
    INSERT INTO delivery_tally (status, count) VALUES (new.status, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
