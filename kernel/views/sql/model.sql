-- One model.
SELECT * FROM model WHERE model_id = :model_id;
