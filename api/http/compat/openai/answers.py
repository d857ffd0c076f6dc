"""Finished jobs as OpenAI's clients read them: images in base64 or as links, and the events of a stream."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from api.http.compat.openai.request_fields import Background
from kernel.protocol.ids import ImageId, JobId
from kernel.views.rows import ImageRow, JobRow


class OpenAiTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Always 0: nothing is counted or billed."""

    image_tokens: int = 0
    text_tokens: int = 0


class OpenAiUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Always 0, for clients that read it."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: OpenAiTokens = OpenAiTokens()
    output_tokens_details: OpenAiTokens = OpenAiTokens()


class OpenAiImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image: its file in base64, or a link to it that expires."""

    b64_json: bytes | UnsetType = UNSET
    url: str | UnsetType = UNSET
    revised_prompt: str | None = None
    image_id: ImageId
    seed: int


class OpenAiImages(msgspec.Struct, frozen=True, kw_only=True):
    """The images of a job; `warnings` says what had no effect."""

    created: int
    data: tuple[OpenAiImage, ...]
    background: str
    output_format: str
    quality: str = "auto"
    size: str
    usage: OpenAiUsage = OpenAiUsage()
    job_id: JobId
    warnings: tuple[str, ...]


class OpenAiImageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An image so far (`image_generation.partial_image`, a small JPEG), or complete (`.completed`)."""

    type: str
    b64_json: bytes
    created_at: int
    size: str
    quality: str = "auto"
    background: str
    output_format: str
    index: int
    """Of the image among those of the job."""
    partial_image_index: int | UnsetType = UNSET
    usage: OpenAiUsage | UnsetType = UNSET
    image_id: ImageId | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    warnings: tuple[str, ...] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Shown:
    """What is said of all images of a job."""

    size: str
    background: str
    output_format: str


def shown(row: JobRow) -> Shown:
    """What is said of the images of a job, before they are there."""
    spec = row.spec
    is_cut_out = spec.remove_background and spec.background_color is None
    return Shown(
        size=f"{spec.width_px}x{spec.height_px}",
        background=Background.TRANSPARENT if is_cut_out else Background.OPAQUE,
        output_format=spec.image_file_type,
    )


def images_of(row: JobRow, images: Sequence[OpenAiImage], size: str, warnings: Sequence[str]) -> OpenAiImages:
    """The response to a request whose job is finished. `size` is that of its images."""
    said = shown(row)
    return OpenAiImages(
        created=(row.finished_at_ms or row.created_at_ms) // 1_000,
        data=tuple(images),
        background=said.background,
        output_format=said.output_format,
        size=size,
        job_id=row.job_id,
        warnings=(*warnings, *row.warnings),
    )


def size_of(image: ImageRow) -> str:
    """The size of an image as OpenAI writes it."""
    return f"{image.width_px}x{image.height_px}"
