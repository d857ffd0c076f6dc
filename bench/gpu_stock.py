"""A plain pipeline of diffusers on a GPU, in half precision, on the same weights."""

import time
from pathlib import Path

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn

from bench.gpu_engine import GPU
from bench.memory_passes import source_of
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components, SdText
from engine_worker.formats.checkpoint_layout import Network

LATENT_PX = 8


class PlainPipeline:
    """DPM++ 2M Karras with guidance, one picture a call. Weights lie as diffusers lays them."""

    def __init__(self, path: Path, size_px: int) -> None:
        diffusers_logging.disable_progress_bar()
        parts = load_components(source_of(path), GPU, torch.float16)
        networks = {
            name: network.to(memory_format=torch.contiguous_format)
            for name, network in parts.networks.items()
        }
        self._size_px = size_px
        self._vae = parts.vae
        self._pipeline = _pipeline(parts, networks)
        self._pipeline.set_progress_bar_config(disable=True)

    def noise(self, seed: int) -> Tensor:
        """What our sampler begins with for that seed."""
        side = self._size_px // LATENT_PX
        return torch.randn(1, 4, side, side, generator=torch.Generator("cpu").manual_seed(seed))

    @torch.inference_mode()
    def latents(self, prompt: str, seed: int, steps: int, guidance_scale: float) -> Tensor:
        """The latents of one picture."""
        made: Tensor = self._pipeline(
            prompt=prompt,
            negative_prompt="blurry",
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            width=self._size_px,
            height=self._size_px,
            latents=self.noise(seed).to(GPU, torch.float16),
            output_type="latent",
        ).images
        return made

    def seconds(self, steps: int) -> float:
        """How long one picture takes, to its pixels on the host."""
        begin_s = time.perf_counter()
        self._pixels(self.latents("a lighthouse at dusk", 1, steps, 5.0))
        return time.perf_counter() - begin_s

    @torch.inference_mode()
    def _pixels(self, latents: Tensor) -> Tensor:
        """Decoded in the precision in which its VAE works without a detour: diffusers' own takes longer."""
        scaled = (latents / self._vae.scaling_factor).to(self._vae.dtype)
        (decoded,) = self._vae.decoder.decode(scaled, return_dict=False)
        pixels: Tensor = ((decoded.float() / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8).cpu()
        return pixels


def _pipeline(parts: Components, networks: dict[Network, nn.Module]) -> diffusers.DiffusionPipeline:
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        {**parts.scheduler_config, "use_karras_sigmas": True}
    )
    if isinstance(parts.text, SdText):
        return diffusers.StableDiffusionPipeline(
            vae=networks[Network.VAE],
            text_encoder=networks[Network.TEXT_ENCODER],
            tokenizer=parts.text.tokenizer,
            unet=networks[Network.UNET],
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    return diffusers.StableDiffusionXLPipeline(
        vae=networks[Network.VAE],
        text_encoder=networks[Network.TEXT_ENCODER],
        text_encoder_2=networks[Network.PROJECTING_TEXT_ENCODER],
        tokenizer=parts.text.tokenizer,
        tokenizer_2=parts.text.tokenizer_2,
        unet=networks[Network.UNET],
        scheduler=scheduler,
        add_watermarker=False,
    )
