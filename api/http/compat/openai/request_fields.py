"""The fields of image requests that OpenAI's API has, and what they are in a job.

Beside them a request may have every field of a job (`extra_body` of OpenAI's clients), under its own name or
those of other tools. What has no effect here is told as a warning.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.values import ImageCount, Name, Prompt


class ResponseFormat(StrEnum):
    B64_JSON = "b64_json"
    URL = "url"


class Background(StrEnum):
    AUTO = "auto"
    OPAQUE = "opaque"
    TRANSPARENT = "transparent"


Word = Annotated[str, Meta(max_length=100)]
Size = Annotated[Word, Meta(description="WIDTHxHEIGHT, such as 512x768; auto: that of the model.")]
FileType = Annotated[Word, Meta(description="png, jpeg or webp.")]
Format = Annotated[Word, Meta(description="b64_json (default): files in base64; url: links that expire.")]
Back = Annotated[Word, Meta(description="transparent, opaque or auto.")]
Compression = Annotated[
    int, Meta(ge=0, le=100, description="The quality of jpeg and webp, from 0 to 100, as OpenAI has it.")
]
PartialImages = Annotated[int, Meta(ge=0, le=3)]
EncodedImage = Annotated[
    str, Meta(min_length=1, description="PNG, JPEG or WebP file; in JSON as base64 or as a data: URL.")
]
EncodedImages = Annotated[tuple[EncodedImage, ...], Meta(min_length=1, max_length=64)]


class OpenAiFields(msgspec.Struct, frozen=True, kw_only=True):
    """What requests for images have in common."""

    model: Name | None = None
    """An engine or a checkpoint, by name or id."""
    n: ImageCount | None = None
    size: Size | None = None
    response_format: Format = ResponseFormat.B64_JSON.value
    output_format: FileType | None = None
    output_compression: Compression | None = None
    background: Back | None = None
    quality: Word | int | None = None
    """A number is that of `output_compression`; a word has no effect."""
    stream: bool = False
    partial_images: PartialImages | None = None


class OpenAiGeneration(OpenAiFields, frozen=True, kw_only=True):
    """An image from a prompt, as OpenAI's clients ask for it. Any field of a job may stand beside these."""

    prompt: Prompt | None = None


class OpenAiEdit(OpenAiFields, frozen=True, kw_only=True):
    """An image from an image and a prompt. The mask is transparent where the image is to be changed."""

    image: EncodedImage | EncodedImages | None = None
    prompt: Prompt | None = None
    mask: EncodedImage | None = None


class OpenAiVariation(OpenAiFields, frozen=True, kw_only=True):
    """Images like an image."""

    image: EncodedImage | EncodedImages | None = None


NO_EFFECT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "style": "write it into the prompt",
        "moderation": "nothing is moderated",
        "user": "nothing is kept about users",
        "safety_identifier": "nothing is kept about users",
        "input_fidelity": "set strength, from 0 (the image as it is) to 1",
        "complexity": "there is no such choice",
        "frame_count": "images are still",
        "frame_duration_ms": "images are still",
        "svg": "images are made of pixels",
        "markup": "draw it into the image, or send a mask",
    }
)
"""OpenAI's other fields: what to do instead, or why there is nothing to do."""
NOTHING_ASKED: Final = ("", "auto")
"""Values that leave the choice to the server, so that nothing is asked for in vain."""


def check_words(found: OpenAiFields, faults: ValidationErrors) -> None:
    """Check the words of closed sets."""
    _check_word("response_format", found.response_format, tuple(ResponseFormat), faults)
    if found.background is not None:
        _check_word("background", found.background, tuple(Background), faults)


def _check_word(field: str, word: str, known: tuple[str, ...], faults: ValidationErrors) -> None:
    if word not in known:
        faults.wrong(field, f"must be one of {', '.join(known)}")
