"""What a UNet is told besides the noisy latents: the words; for SDXL, the pooled words and the sizes too."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.drawing import SIDE_PX
from training.prompts import Prompts


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The UNet's arguments behind latents and timesteps."""

    words: Tensor
    """(batch, 77, width)"""
    added: dict[str, Tensor] | None = None
    """SDXL: the pooled words and six numbers."""


def condition_sd(modules: nn.ModuleDict, prompts: Prompts) -> Conditioning:
    """Read the prompts as SD does."""
    return Conditioning(modules["text"](prompts.tokens).last_hidden_state)


def condition_sdxl(modules: nn.ModuleDict, prompts: Prompts) -> Conditioning:
    """Read the prompts as SDXL does: without the encoders' last layers; a dropped prompt is zeros."""
    first = modules["text"](prompts.tokens, output_hidden_states=True)
    second = modules["text_2"](prompts.padded_with_zero, output_hidden_states=True)
    kept = (~prompts.is_dropped).float()
    words = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    sizes = torch.tensor([SIDE_PX, SIDE_PX, 0, 0, SIDE_PX, SIDE_PX], device=words.device)
    return Conditioning(
        words * kept[:, None, None],
        {
            "text_embeds": second.text_embeds * kept[:, None],
            "time_ids": sizes.float().expand(len(words), -1),
        },
    )
