"""The two families, SD and SDXL: what is trained of each, and how its UNet is told the prompt."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kernel.protocol.enums import ModelBase
from training.drawing import SIDE_PX
from training.loop import Run, trained_weights
from training.networks import build_text_encoders, build_unet
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


Condition = Callable[[nn.ModuleDict, Prompts], Conditioning]


@dataclass(frozen=True, slots=True)
class Family:
    """One family."""

    base: ModelBase
    encoders: tuple[str, ...]
    """Names of the text encoders among the family's modules; the UNet is called "unet"."""
    condition: Condition
    """Reads the prompts with the family's text encoders."""

    @property
    def text_part(self) -> str:
        """Name of the training of the text encoders alone."""
        return f"text-{self.base.value}"

    @property
    def unet_part(self) -> str:
        """Name of the training of UNet and text encoders."""
        return f"unet-{self.base.value}"


SD = Family(ModelBase.SD, ("text",), condition_sd)
SDXL = Family(ModelBase.SDXL, ("text", "text_2"), condition_sdxl)
FAMILIES = (SD, SDXL)


def new_modules(family: Family) -> nn.ModuleDict:
    """Build the family's UNet and text encoders with random weights."""
    encoders = zip(family.encoders, build_text_encoders(family.base), strict=True)
    return nn.ModuleDict({"unet": build_unet(family.base), **dict(encoders)})


def trained_modules(family: Family, run: Run, *, unfinished: bool = False) -> nn.ModuleDict:
    """Load the family's UNet and text encoders, frozen.

    Raises: NotTrained, if their training has not ended, unless `unfinished` allows that.
    """
    modules = new_modules(family)
    for name, module in modules.items():
        module.load_state_dict(trained_weights(run.folder, family.unet_part, name, unfinished=unfinished))
    return modules.to(run.device).eval().requires_grad_(False)


def tell_noise(
    family: Family, modules: nn.ModuleDict, prompts: Prompts, noisy: Tensor, timesteps: Tensor
) -> Tensor:
    """Let the family's UNet tell the noise, given the prompts."""
    told = family.condition(modules, prompts)
    noise: Tensor = modules["unet"](noisy, timesteps, told.words, added_cond_kwargs=told.added).sample
    return noise
