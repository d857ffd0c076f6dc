"""Fields under the names that other tools give them are refused with ours."""

import pytest

from api.http.contract.field_aliases import our_name
from tests.unit.api.stage import Stage, fields_of


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cfg_scale", "cfg"),
        ("guidance_scale", "cfg"),
        ("guidanceScale", "cfg"),
        ("sampler_name", "scheduler"),
        ("sampler", "scheduler"),
        ("sampler_index", "scheduler"),
        ("n_iter", "count"),
        ("batch_size", "count"),
        ("num_images", "count"),
        ("denoising_strength", "strength"),
        ("init_images", "reference_image_blob"),
        ("image", "reference_image_blob"),
        ("num_inference_steps", "steps"),
        ("mask", "mask_image_blob"),
        ("inpainting_mask_invert", "mask_mode"),
        ("mask_blur_x", "mask_blur"),
        ("inpaint_full_res", "inpaint_area"),
        ("inpaint_full_res_padding", "inpaint_padding"),
        ("inpainting_fill", "inpaint_fill"),
        ("resize_mode", "image_fit"),
        ("CLIP_stop_at_last_layers", "clip_skip"),
        ("clipSkip", "clip_skip"),
        ("controlnet_conditioning_scale", "control_scale"),
        ("model", "checkpoint"),
        ("lora", "loras"),
    ],
)
def test_the_name_that_a_job_has_for_it_is_told(stage: Stage, theirs: str, ours: str) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", theirs: 1})
    assert fields_of(result) == {theirs: f"unknown field; use {ours}"}


def test_only_a_field_that_the_call_knows_is_named() -> None:
    assert our_name("model", {"checkpoint", "steps"}) == "checkpoint"
    assert our_name("model", {"steps"}) is None


def test_no_name_of_ours_is_another_tools_for_something_else(stage: Stage) -> None:
    result = stage.post("/v1/engines", {"checkpoint": "m1", "sampler_name": "Euler"})
    assert fields_of(result) == {"sampler_name": "unknown field; use scheduler"}
