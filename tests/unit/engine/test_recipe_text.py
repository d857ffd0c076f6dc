"""The recipe in the form that Stable Diffusion tools read."""

import pytest
from msgspec.structs import replace

from engine_worker.engine.images.infotext import InfotextSource, infotext
from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    ModelType,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.ids import ImageId, JobId, ModelId
from kernel.protocol.model_refs import Control, LoraUse, ModelSource
from kernel.protocol.specs import JobOrder, JobSpec, PictureOrder, SchedulerConfig

JOB = JobSpec(
    prompt="a cat,\nin a hat",
    negative_prompt="",
    seed=1,
    count=1,
    steps=20,
    guidance_scale=7.5,
    width_px=512,
    height_px=768,
    scheduler=Scheduler.EULER_A,
)


def source(name: str, sha256: str | None = None) -> ModelSource:
    return ModelSource(
        model_id=ModelId(f"id-{name}"),
        name=name,
        uri="file:///m",
        model_type=ModelType.CHECKPOINT,
        sha256=sha256,
    )


MODELS = (
    source("ghibli", "aa11bb22cc33dd44"),
    source("owner/add: detail", "0123456789abcdef"),
    source("bad-hands", "fedcba9876543210"),
    source("ft-mse", "11112222333344445555"),
    source("canny-net", "99998888777766665555"),
    source("u2net"),
    source("isnet"),
)
NOTHING_SPECIAL = InfotextSource()


def text(
    spec: JobSpec, checkpoint: ModelSource | None = None, making: InfotextSource = NOTHING_SPECIAL
) -> str:
    order = JobOrder(
        job_id=JobId("j"),
        spec=spec,
        models=MODELS,
        pictures=(PictureOrder(index=0, image_id=ImageId("i"), seed=42),),
    )
    return infotext(order, 42, checkpoint or source("tiny"), making)


def pairs(spec: JobSpec, making: InfotextSource = NOTHING_SPECIAL) -> str:
    return text(spec, making=making).splitlines()[-1]


def test_prompt_negative_prompt_and_pairs_stand_on_lines_of_their_own() -> None:
    assert text(replace(JOB, negative_prompt="blurry"), source("tiny", "abcdef0123456789")) == (
        "a cat,\nin a hat\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.5, Seed: 42, Size: 512x768, "
        "Model hash: abcdef0123, Model: tiny, RNG: CPU, "
        "Version: automatic-spoon 0.2.0"
    )


def test_what_was_not_given_is_not_mentioned() -> None:
    assert text(JOB) == (
        "a cat,\nin a hat\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.5, Seed: 42, "
        "Size: 512x768, Model: tiny, RNG: CPU, Version: automatic-spoon 0.2.0"
    )


def test_a_value_that_would_break_the_pairs_is_quoted() -> None:
    assert r'Model: "big, \"red\": one"' in text(JOB, source('big, "red": one'))


def test_whole_numbers_are_written_without_a_point_and_options_by_name() -> None:
    job = replace(JOB, scheduler_config={"use_karras_sigmas": True}, guidance_scale=7.0)
    assert "CFG scale: 7, " in pairs(job)
    assert "Scheduler use_karras_sigmas: True" in pairs(job)


def test_loras_stand_behind_the_prompt_with_their_weights_and_among_the_pairs_with_their_hashes() -> None:
    uses = (
        LoraUse(model_id=ModelId("id-ghibli"), weight=0.8),
        LoraUse(model_id=ModelId("id-owner/add: detail"), weight=-1.0),
    )
    found = text(replace(JOB, loras=uses))
    assert found.startswith("a cat,\nin a hat <lora:ghibli:0.8> <lora:owner/add_ detail:-1>\nSteps: 20")
    assert 'Lora hashes: "ghibli: aa11bb22cc, owner/add_ detail: 0123456789"' in found


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("a <lora:GHIBLI:.80> cat", "a <lora:GHIBLI:.80> cat"),
        ("a <lora:id-ghibli:0.8> cat", "a <lora:ghibli:0.8> cat"),
        ("a <lora:m:0.8> cat", "a <lora:ghibli:0.8> cat"),
        ("a <lora:former-file:0.8>cat", "a cat <lora:ghibli:0.8>"),
        ("a cat", "a cat <lora:ghibli:0.8>"),
    ],
    ids=["as written", "by id", "by file", "by a former file", "not in the prompt"],
)
def test_tags_stay_where_they_are_under_the_names_of_their_loras(prompt: str, written: str) -> None:
    use = LoraUse(model_id=ModelId("id-ghibli"), weight=0.8)
    tagged = replace(JOB, prompt=prompt, loras=(use,), lora_tags=True)
    assert text(tagged).startswith(f"{written}\nSteps: 20")
    assert "Lora tags" not in text(tagged)


def test_tags_that_are_text_are_told_from_those_of_loras() -> None:
    use = LoraUse(model_id=ModelId("id-ghibli"), weight=0.8)
    literal = replace(JOB, prompt="a <lora:ghibli:0.8> cat", loras=(use,))
    assert text(literal).startswith("a <lora:ghibli:0.8> cat <lora:ghibli:0.8>\nSteps: 20")
    assert "Lora tags: text, Version" in text(literal)


@pytest.mark.parametrize(
    ("scheduler", "options", "written"),
    [
        (Scheduler.EULER_A, {}, "Sampler: Euler a, Schedule type: Automatic"),
        (Scheduler.DPMPP_2M_KARRAS, {}, "Sampler: DPM++ 2M, Schedule type: Karras"),
        (Scheduler.DPMPP_2M, {}, "Sampler: DPM++ 2M, Schedule type: Uniform"),
        (
            Scheduler.EULER_A,
            {"timestep_spacing": "sgm_uniform"},
            "Sampler: Euler a, Schedule type: SGM Uniform",
        ),
        (Scheduler.DPMPP_3M_SDE_BETA, {}, "Sampler: DPM++ 3M SDE, Schedule type: Beta"),
    ],
)
def test_sampler_and_schedule_type_have_the_names_of_a1111(
    scheduler: Scheduler, options: SchedulerConfig, written: str
) -> None:
    assert f"{written}, CFG scale" in pairs(replace(JOB, scheduler=scheduler, scheduler_config=options))


def test_the_clip_skip_of_the_training_is_not_mentioned() -> None:
    assert "Clip skip" not in pairs(replace(JOB, clip_skip=1))


def test_embeddings_vae_clip_skip_and_technique_are_named() -> None:
    job = replace(
        JOB,
        embeddings=(ModelId("id-bad-hands"),),
        vae=ModelId("id-ft-mse"),
        clip_skip=2,
        long_prompt_technique=PromptTechnique.COMPEL,
    )
    assert (
        'VAE hash: 1111222233, VAE: ft-mse, Clip skip: 2, RNG: CPU, TI hashes: "bad-hands: fedcba987654", '
        "Prompt technique: compel"
    ) in pairs(job)


def test_pictures_that_came_along_tell_strength_and_mask() -> None:
    job = replace(JOB, inputs=(InputKind.REFERENCE, InputKind.MASK), strength=0.6, image_fit=ImageFit.CROP)
    assert ("Denoising strength: 0.6, RNG: CPU, Resize mode: Crop and Resize, Version") in pairs(job)
    assert "Denoising strength" not in pairs(replace(JOB, strength=0.6))


def test_the_values_of_a_mask_have_the_names_of_a1111() -> None:
    job = replace(
        JOB,
        inputs=(InputKind.REFERENCE, InputKind.MASK),
        strength=0.6,
        mask_mode=MaskMode.INVERTED,
        mask_blur=4,
        inpaint_fill=InpaintFill.LATENT_NOISE,
        inpaint_area=InpaintArea.MASKED,
        inpaint_padding=32,
    )
    assert (
        "Denoising strength: 0.6, RNG: CPU, Mask mode: Inpaint not masked, Mask blur: 4, "
        "Inpaint area: Only masked, Masked area padding: 32, Masked content: latent noise, Version"
    ) in pairs(job)
    alpha = replace(
        job,
        inputs=(InputKind.REFERENCE,),
        image_fit=ImageFit.PAD,
        mask_mode=MaskMode.ALPHA,
        inpaint_fill=InpaintFill.ORIGINAL,
        inpaint_area=InpaintArea.WHOLE,
        inpaint_padding=None,
    )
    assert ("RNG: CPU, Mask blur: 4, Resize mode: Resize and Fill, Mask channel: alpha") in pairs(alpha)


def test_pictures_that_came_along_tell_how_they_were_fitted_and_which_they_were() -> None:
    kinds = (InputKind.REFERENCE, InputKind.MASK, InputKind.POSE)
    job = replace(JOB, inputs=kinds, image_fit=ImageFit.PAD, strength=0.75)
    digests = {InputKind.REFERENCE: "a" * 64, InputKind.MASK: "b" * 64, InputKind.POSE: "c" * 64}
    found = pairs(job, InfotextSource(digests=digests))
    assert "Resize mode: Resize and Fill" in found
    assert "Denoising strength: 0.75, Init image hash: aaaaaaaaaa, RNG" in found
    assert "Mask hash: bbbbbbbbbb, ControlNet image hash: cccccccccc, Version" in found


def test_each_control_is_one_quoted_value_with_its_number() -> None:
    job = replace(
        JOB,
        inputs=(InputKind.POSE,),
        image_fit=ImageFit.PAD,
        controls=(
            Control(
                control_type=ControlType.CANNY,
                control_model=ModelId("id-canny-net"),
                scale=0.5,
                start=0.1,
                end=0.9,
            ),
            Control(control_type=ControlType.DEPTH, control_model=ModelId("unknown"), is_preprocessed=True),
        ),
    )
    assert (
        'ControlNet 0: "Module: canny, Model: canny-net [9999888877], Weight: 0.5, '
        'Resize Mode: Resize and Fill, Guidance Start: 0.1, Guidance End: 0.9", '
        'ControlNet 1: "Module: none, Model: unknown, Weight: 1, '
        'Resize Mode: Resize and Fill, Guidance Start: 0, Guidance End: 1"'
    ) in pairs(job)


def test_a_reference_that_was_encoded_in_tiles_is_told() -> None:
    job = replace(JOB, inputs=(InputKind.REFERENCE,), strength=0.75, image_fit=ImageFit.CROP)
    told = "Resize mode: Crop and Resize, VAE encoder tiling: 256, Version"
    assert told in pairs(job, making=InfotextSource(encoded_tile_px=256))
    assert "tiling" not in pairs(job)


def test_removed_backgrounds_and_tiles_are_told() -> None:
    removers = (ModelId("id-u2net"), ModelId("id-isnet"))
    job = replace(JOB, remove_background=removers[:1])
    assert "VAE tiling: 512, Background removed: u2net, Version" in pairs(
        job, making=InfotextSource(decoded_tile_px=512)
    )
    assert 'Background color: "' not in pairs(job)
    flat = replace(job, image_file_type=ImageFileType.JPEG, background_color="#102030")
    assert "Background removed: u2net, Background color: #102030" in pairs(flat)
    both = replace(job, remove_background=removers, background_color="#102030")
    assert 'Background removed: "u2net, isnet", Background color: #102030' in pairs(both)


def test_the_text_of_an_image_like_those_of_a1111_is_a1111s_to_the_byte() -> None:
    """Written by hand after the format of A1111 1.10, with its option "CPU" for random numbers."""
    spec = replace(
        JOB,
        prompt="masterpiece, (a fox:1.2) <lora:ghibli:0.8>\nBREAK snow, bad-hands",
        negative_prompt="blurry, text",
        scheduler=Scheduler.DPMPP_2M_SDE_KARRAS,
        guidance_scale=6.5,
        clip_skip=2,
        vae=ModelId("id-ft-mse"),
        loras=(LoraUse(model_id=ModelId("id-ghibli"), weight=0.8),),
        lora_tags=True,
        embeddings=(ModelId("id-bad-hands"),),
        inputs=(InputKind.REFERENCE, InputKind.MASK),
        strength=0.75,
        mask_mode=MaskMode.LUMINANCE,
        mask_blur=4,
        inpaint_fill=InpaintFill.ORIGINAL,
        inpaint_area=InpaintArea.MASKED,
        inpaint_padding=32,
    )
    assert text(spec, source("dreams", "abcdef0123456789")).replace("automatic-spoon 0.2.0", "v1.10.1") == (
        "masterpiece, (a fox:1.2) <lora:ghibli:0.8>\nBREAK snow, bad-hands\n"
        "Negative prompt: blurry, text\n"
        "Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 512x768, "
        "Model hash: abcdef0123, Model: dreams, VAE hash: 1111222233, VAE: ft-mse, Denoising strength: 0.75, "
        "Clip skip: 2, RNG: CPU, Mask blur: 4, Inpaint area: Only masked, Masked area padding: 32, "
        'Lora hashes: "ghibli: aa11bb22cc", TI hashes: "bad-hands: fedcba987654", Version: v1.10.1'
    )


def test_templates_stand_behind_the_values_as_dynamic_prompts_writes_them() -> None:
    job = replace(JOB, prompt_template="a __cat__,\nin a {hat|coat}", negative_prompt_template="{dog|fox}")
    lines = text(job).splitlines()
    assert lines[:2] == ["a cat,", "in a hat"]
    assert lines[-2:] == ["Template: a __cat__, in a {hat|coat}", "Negative Template: {dog|fox}"]
    assert "Template" not in text(JOB)
