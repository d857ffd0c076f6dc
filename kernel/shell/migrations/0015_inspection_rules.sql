-- The version of the rules by which a model was inspected: a start inspects those again that an older one has judged. And
-- what decides its images but is in a file beside it, so that a change is noticed.

ALTER TABLE model ADD COLUMN inspection_rules INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model ADD COLUMN beside TEXT;
