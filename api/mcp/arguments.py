"""The arguments of the tools, as hosts and models see them. The server checks the values themselves."""

import re
from typing import Annotated, Final

from pydantic import Field

from kernel.protocol.enums import ModelType
from kernel.protocol.errors import wrong_field

MAX_WAIT_S: Final = 300
DEFAULT_WAIT_S: Final = 45
"""Hosts give up on a tool after 60 s, if nothing else is set."""
MAX_IMAGES: Final = 4
MAX_LISTED: Final = 50

Prompt = Annotated[
    str,
    Field(description="What the image shows. Weights as (word:1.2); LoRAs also as <lora:name:0.8>."),
]
Negative = Annotated[str | None, Field(description="What it must not show.")]
EngineName = Annotated[
    str | None, Field(description="Name or id of an engine, from list_engines. Not together with checkpoint.")
]
Checkpoint = Annotated[
    str | None,
    Field(description="Name or id of a checkpoint, from list_models; an engine is found or made for it."),
]
SidePx = Annotated[
    int | None, Field(description="Pixels, a multiple of 8. Left out: what the model was trained for.")
]
Steps = Annotated[int | None, Field(description="Denoising steps. Left out: the engine's default.")]
Cfg = Annotated[float | None, Field(description="Guidance scale, about 1 to 15.")]
SchedulerName = Annotated[str | None, Field(description="Such as dpmpp_2m_karras or euler_a.")]
Seed = Annotated[int | None, Field(description="For an image that can be made again. Left out: random.")]
Count = Annotated[
    int, Field(ge=1, le=MAX_IMAGES, description=f"How many images, at most {MAX_IMAGES}; one is usual.")
]
Loras = Annotated[
    dict[str, float] | None,
    Field(description='LoRAs by name or id, with weights: {"detail": 0.8}. See their trigger words.'),
]
Strength = Annotated[
    float | None,
    Field(description="How much changes: 0 nothing, 1 everything. Left out: the server's default."),
]
WaitS = Annotated[
    float,
    Field(
        ge=0,
        le=MAX_WAIT_S,
        description="Seconds to wait for the end. 0: return at once; then ask job_status.",
    ),
]
ValidateOnly = Annotated[bool, Field(description="Only check the arguments; make nothing.")]
JobId = Annotated[str, Field(description="As generate_image or edit_image gave it.")]
ImageId = Annotated[str, Field(description="As a finished job or find_images gave it.")]
Limit = Annotated[int, Field(ge=1, le=MAX_LISTED)]
After = Annotated[str | None, Field(description="To go on: the value that the last answer ended with.")]
ModelKind = Annotated[ModelType | None, Field(description="Only models of this type.")]

_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


def is_id(said: str) -> bool:
    """Whether a text has the form of an id, so that it may stand in a path."""
    return _ID.fullmatch(said) is not None


def check_id(name: str, said: str) -> str:
    """The id. Raises: InvalidField, if it cannot be one."""
    if not is_id(said):
        raise wrong_field(name, "must be an id, as an earlier answer gave it")
    return said
