"""The work of making a picture, counted by torch on networks without memory."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine_worker.engine.loading.networks import build_empty
from engine_worker.formats.architecture import Architecture
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.ldm_layout import single_file_layout

ROWS = 2
"""With guidance."""
TOKENS = 77
LATENT_PX = 8


def tera_flop(architecture: Architecture, steps: int) -> float:
    """Of one picture in the size of its training: so many calls of the UNet, and one of the VAE's decoder.

    The prompts' encoders are left out: they have less than a thousandth of it.
    """
    networks = {plan.network: build_empty(plan) for plan in single_file_layout(architecture).networks}
    side = architecture.native_size_px // LATENT_PX
    with torch.device("meta"), torch.inference_mode():
        sample = torch.empty(ROWS, architecture.unet.in_channels, side, side)
        embeds = torch.empty(ROWS, TOKENS, architecture.unet.cross_attention_width)
        added = None
        if architecture.unet.added_width is not None:
            pooled = architecture.text_encoders[-1].projection_width or 0
            added = {"text_embeds": torch.empty(ROWS, pooled), "time_ids": torch.empty(ROWS, 6)}
        with FlopCounterMode(display=False) as of_a_step:
            networks[Network.UNET](
                sample, torch.empty(ROWS), encoder_hidden_states=embeds, added_cond_kwargs=added
            )
        with FlopCounterMode(display=False) as of_decoding:
            networks[Network.VAE].get_submodule("decoder")(sample[:1, :4])
    return float(steps * of_a_step.get_total_flops() + of_decoding.get_total_flops()) / 1e12
