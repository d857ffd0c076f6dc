-- A value has one name, that of the REST API, also in stored specs (ADR 0046). What says nothing about a job is left
-- out, and with it what an old spec never had: a null in a patch removes the member (RFC 7396).

UPDATE engine SET spec = json_patch(spec, json_object(
    'cfg', spec -> '$.guidance_scale', 'guidance_scale', NULL,
    'width', spec -> '$.width_px', 'width_px', NULL,
    'height', spec -> '$.height_px', 'height_px', NULL,
    'vae', coalesce(spec ->> '$.vae', 'checkpoint')
));

UPDATE job SET spec = json_patch(spec, json_object(
    'cfg', spec -> '$.guidance_scale', 'guidance_scale', NULL,
    'width', spec -> '$.width_px', 'width_px', NULL,
    'height', spec -> '$.height_px', 'height_px', NULL,
    'vae', coalesce(spec ->> '$.vae', 'checkpoint'),
    'remove_background_models', spec -> '$.remove_background', 'remove_background', NULL,
    'strength', iif(
        EXISTS (SELECT 1 FROM json_each(job.spec, '$.inputs') AS input WHERE input.value = 'reference'),
        spec ->> '$.strength', NULL
    ),
    'image_fit', iif(json_array_length(spec, '$.inputs') > 0, spec ->> '$.image_fit', NULL),
    'background_color', iif(
        json_array_length(spec, '$.remove_background') > iif(spec ->> '$.image_file_type' = 'jpeg', 0, 1),
        spec ->> '$.background_color', NULL
    ),
    'controls', json((
        SELECT json_group_array(json_object(
            'type_pose', control.value ->> '$.control_type',
            'control_model', job.spec ->> ('$.control_models[' || control.key || ']'),
            'control_scale', control.value -> '$.scale',
            'control_start', control.value -> '$.start',
            'control_end', control.value -> '$.end',
            'preprocessed', control.value -> '$.is_preprocessed'
        ))
        FROM json_each(job.spec, '$.controls') AS control
    )),
    'control_models', NULL
));
