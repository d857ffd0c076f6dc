"""The base that the names of files and folders hint at, for models whose content leaves it open."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kernel.protocol.enums import ModelBase, ModelType

_SDXL: Final = re.compile(
    r"(?<![a-z0-9])(sd[-_ ]?xl|xl|pony(?![-_ ]*v?7)|illustrious|noob[-_ ]?ai)(?![a-z])(?![-_ ]?refiner)"
)
_SD: Final = re.compile(r"(?<![a-z0-9])(sd|stable[-_ ]?diffusion)[-_. ]?(v?1([-_. ]?[45])?)(?![a-z0-9])")
_VAES_OF_SD: Final = re.compile(r"(?<![a-z0-9])(vae-ft-(mse|ema)|kl-f8)(?![a-z])")
"""Published VAEs of SD, which many checkpoints are used with."""


def base_of_name(name: str) -> ModelBase | None:
    """The base that a name contains as a word: `sdxl_vae`, `SD 1.5`, `pony`; None, if none or both."""
    lowered = name.lower()
    is_sdxl, is_sd = _SDXL.search(lowered) is not None, _SD.search(lowered) is not None
    if is_sdxl == is_sd:
        return None
    return ModelBase.SDXL if is_sdxl else ModelBase.SD


def base_of_place(path: Path, top: Path, model_type: ModelType) -> ModelBase | None:
    """The base by a VAE's own name, else by the nearest of the folders around a model, up to `top`."""
    return next((base for base in _bases(path, top, model_type) if base is not None), None)


def _bases(path: Path, top: Path, model_type: ModelType) -> Iterator[ModelBase | None]:
    if model_type is ModelType.VAE:
        yield base_of_name(path.stem)
        yield ModelBase.SD if _VAES_OF_SD.search(path.stem.lower()) else None
    if path != top:
        for folder in reversed(path.parent.relative_to(top).parts):
            yield base_of_name(folder)
        yield base_of_name(top.name)
