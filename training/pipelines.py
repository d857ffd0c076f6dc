"""Puts trained parts together into the stock pipelines of diffusers."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from training import unet_sd, unet_sdxl
from training.loop import Run, trained_weights
from training.networks import build_sd_text_encoder, build_sd_unet, build_sdxl_text_encoders, build_sdxl_unet
from training.tokens import build_tokenizer
from training.vae import SD_SCALE, SDXL_SCALE, trained_vae

Pipeline = StableDiffusionPipeline | StableDiffusionXLPipeline


def build_scheduler() -> DDIMScheduler:
    """Build the scheduler that is saved with the model: the noise it was trained on, the timesteps of SD 1.5."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def sd_pipeline(run: Run, *, unfinished: bool = False) -> StableDiffusionPipeline:
    """Build the SD pipeline.

    Raises: NotTrained, if a part has not been trained to its end, unless `unfinished` allows that.
    """
    unet, text = build_sd_unet(), build_sd_text_encoder()
    for module, name in ((unet, "unet"), (text, "text")):
        module.load_state_dict(trained_weights(run.folder, unet_sd.NAME, name, unfinished=unfinished))
    pipeline = StableDiffusionPipeline(
        vae=trained_vae(run, SD_SCALE),
        text_encoder=text,
        tokenizer=build_tokenizer(),
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _ready(pipeline, run)


def sdxl_pipeline(run: Run, *, unfinished: bool = False) -> StableDiffusionXLPipeline:
    """Build the SDXL pipeline.

    Raises: NotTrained, if a part has not been trained to its end, unless `unfinished` allows that.
    """
    unet, (text, text_2) = build_sdxl_unet(), build_sdxl_text_encoders()
    for module, name in ((unet, "unet"), (text, "text"), (text_2, "text_2")):
        module.load_state_dict(trained_weights(run.folder, unet_sdxl.NAME, name, unfinished=unfinished))
    pipeline = StableDiffusionXLPipeline(
        vae=trained_vae(run, SDXL_SCALE),
        text_encoder=text,
        text_encoder_2=text_2,
        tokenizer=build_tokenizer(),
        tokenizer_2=build_tokenizer(pad_token="!"),
        unet=unet,
        scheduler=build_scheduler(),
        add_watermarker=False,
    )
    return _ready(pipeline, run)


def _ready(pipeline: Pipeline, run: Run) -> Pipeline:
    pipeline.set_progress_bar_config(disable=True)
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return pipeline.to(run.device)
