-- What older versions wrote, in the sense that they gave it. Before specs named a prompt technique (schema 2), prompts had
-- no syntax; what a spec does not name means sd_embed now.

UPDATE job SET spec = json_set(spec, '$.long_prompt_technique', 'none') WHERE spec -> '$.long_prompt_technique' IS NULL;
UPDATE engine SET spec = json_set(spec, '$.long_prompt_technique', 'none')
WHERE spec -> '$.long_prompt_technique' IS NULL;
