"""The two families, SD and SDXL: what is trained of each, and how its UNet is told the prompt."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from kernel.protocol.enums import ModelBase
from training.conditioning import Conditioning, condition_sd, condition_sdxl
from training.loop import Run, trained_weights
from training.networks import build_text_encoders, build_unet
from training.prompts import Prompts

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
