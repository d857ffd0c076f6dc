"""The types of values that engines, jobs and models have, with their bounds: declared once, here.

The decoders of HTTP and of the bus check the bounds. An installation's own limits (`server.max_pixels` ...)
are narrower.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kernel.protocol.enums import PromptTechnique
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.prompts import LONGEST_PROMPT, MAX_CHARACTERS, MAX_LORA_WEIGHT

PIXELS_PER_LATENT: Final = 8
"""One latent stands for 8 x 8 pixels in every Stable Diffusion VAE."""
MAX_SIDE_PX: Final = 8_192
MAX_LIFE_S: Final = 3_155_760_000.0
"""A hundred years: a value that a clock in milliseconds can hold."""
MAX_MODELS: Final = 32
"""LoRAs, embeddings or ControlNets of one engine or job."""
MAX_REMOVERS: Final = 8
MAX_DELETED: Final = 200
"""Images that one DeleteImages can name."""

_SHA256: Final = "^[0-9a-fA-F]{64}$"
_DEVICE: Final = "^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$"
_COLOR: Final = "^#[0-9a-fA-F]{6}$"
_POOL: Final = "^[a-z0-9][a-z0-9._-]{0,62}$"
FORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        _SHA256: "64 hexadecimal digits",
        _DEVICE: "auto, cpu, cuda, cuda:N, xpu, xpu:N or mps",
        _COLOR: "a color written #rrggbb, such as #ff0000 for red",
        _POOL: "small letters, digits, dots, dashes and underscores, with a letter or digit first",
    }
)
"""Descriptions of the patterns for error messages."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Uri = Annotated[str, Meta(min_length=1, max_length=4_096)]
Tag = Annotated[str, Meta(min_length=1, max_length=100)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=64)]
Note = Annotated[str, Meta(max_length=10_000)]
Pool = Annotated[str, Meta(pattern=_POOL)]
"""The name of a pool of workers."""
Sha256 = Annotated[str, Meta(pattern=_SHA256)]
Prompt = Annotated[
    str,
    Meta(
        max_length=LONGEST_PROMPT,
        description=f"At most {MAX_CHARACTERS[PromptTechnique.COMPEL]} characters if "
        "long_prompt_technique is compel.",
    ),
]
ClipSkip = Annotated[int, Meta(ge=1, le=12)]
"""Layers of the text encoder, counted from its end; SD 1.5's has 12."""
Steps = Annotated[int, Meta(ge=1, le=10_000)]
GuidanceScale = Annotated[float, Meta(ge=0, le=100)]
"""In use up to about 30; beyond a few hundred, float16 overflows and every pixel is NaN."""
SidePx = Annotated[int, Meta(ge=64, le=MAX_SIDE_PX, multiple_of=PIXELS_PER_LATENT)]
Priority = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
"""Jobs with a higher one go first."""
Seed = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
ImageCount = Annotated[int, Meta(ge=1, le=10_000)]
Strength = Annotated[float, Meta(ge=0, le=1)]
"""Denoising strength: 1 ignores the reference image; with 0 it only passes through the VAE."""
MaskBlur = Annotated[int, Meta(ge=0, le=256)]
"""The standard deviation of a Gaussian, in pixels, as in A1111."""
InpaintPadding = Annotated[int, Meta(ge=0, le=MAX_SIDE_PX)]
Color = Annotated[str, Meta(pattern=_COLOR)]
WHITE: Final = "#ffffff"
Quality = Annotated[int, Meta(ge=1, le=100)]
Downloads = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
LoraWeight = Annotated[float, Meta(ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT)]
"""In use up to about 2, for sliders up to about 8, in either direction."""
ControlScale = Annotated[float, Meta(ge=0, le=10)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
ColorValue = Annotated[float, Meta(ge=0, le=1_000)]
"""Means and deviations of colors, for values of 0 to 1 or of 0 to 255."""
Device = Annotated[str, Meta(pattern=_DEVICE)]
KeepAliveS = Annotated[float, Meta(ge=0, le=31_536_000)]
LifeS = Annotated[float, Meta(gt=0, le=MAX_LIFE_S)]
DurationS = Annotated[float, Meta(ge=0, le=MAX_LIFE_S)]
ReplicaCount = Annotated[int, Meta(ge=1, le=64)]


class ReplicaRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least and the most workers of an engine; the server chooses by the length of its queue."""

    min: ReplicaCount = 1
    max: ReplicaCount

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError("min must not be greater than max")


Replicas = ReplicaCount | ReplicaRange
MaxBatch = Annotated[int, Meta(ge=1, le=1_024)]
