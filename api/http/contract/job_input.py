"""What a client sends to have pictures made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.http.contract.constraints import (
    Cfg,
    ClipSkip,
    Color,
    ControlPart,
    ControlScale,
    Count,
    Downloads,
    Id,
    ModelRefs,
    Name,
    Priority,
    Prompt,
    Quality,
    Removers,
    SchedulerOptions,
    Seed,
    SizePx,
    Steps,
    Strength,
    VaeRef,
    Wait,
)
from api.http.contract.enum_choices import ControlTypeWord, ImageFileTypeWord, ImageFitWord, SchedulerWord
from api.http.contract.model_refs import Loras
from api.http.contract.retention import Expiry, Patience
from kernel.protocol.enums import ControlType, InputKind

LATER_FIELDS: Final = frozenset({"callback_url"})

BLOB_FIELDS: Final[Mapping[InputKind, str]] = MappingProxyType(
    {
        InputKind.REFERENCE: "reference_image_blob",
        InputKind.MASK: "mask_image_blob",
        InputKind.POSE: "pose_image_blob",
    }
)
"""Where each picture comes in: the field of a JSON body, and the part of a form."""

_MANY: Final = len(ControlType)
Blob = Annotated[
    str,
    Meta(
        min_length=1,
        description="PNG, JPEG or WebP file as base64 or as a data: URL.",
        extra_json_schema={"contentEncoding": "base64"},
    ),
]
ControlTypes = Annotated[tuple[ControlTypeWord, ...], Meta(min_length=1, max_length=_MANY)]
ControlScales = Annotated[tuple[ControlScale, ...], Meta(min_length=1, max_length=_MANY)]
ControlParts = Annotated[tuple[ControlPart, ...], Meta(min_length=1, max_length=_MANY)]


class JobInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job for an engine, named by `engine_id` or `engine`. Omitted fields take the engine's defaults."""

    engine_id: Id | None = None
    engine: Name | None = None
    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    loras: Loras | None = None
    embeddings: ModelRefs | None = None
    vae: VaeRef | None = None
    clip_skip: ClipSkip | None = None
    seed: Seed | None = None
    count: Count = 1
    steps: Steps | None = None
    cfg: Cfg | None = None
    width: SizePx | None = None
    height: SizePx | None = None
    scheduler: SchedulerWord | None = None
    scheduler_config: SchedulerOptions | None = None
    reference_image_blob: Blob | None = None
    strength: Strength | None = None
    mask_image_blob: Blob | None = None
    image_fit: ImageFitWord | None = None
    pose_image_blob: Blob | None = None
    type_pose: ControlTypeWord | ControlTypes | None = None
    preprocessed: bool = False
    control_scale: ControlScale | ControlScales | None = None
    control_start: ControlPart | ControlParts | None = None
    control_end: ControlPart | ControlParts | None = None
    remove_background_models: Removers = ()
    background_color: Color | None = None
    image_file_type: ImageFileTypeWord = "png"
    quality: Quality = 90
    previews: bool = False
    expire_after: Expiry | None = None
    delete_after_downloads: Downloads | None = None
    give_up_after: Patience | None = None
    priority: Priority = 0


class JobCreateQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds to wait for the job to end; or only validate the job without submitting it."""

    wait: Wait | None = None
    validate_only: bool = False


def pictures_in(found: JobInput) -> dict[InputKind, str]:
    """The pictures that a JSON body brings, as text."""
    texts = (
        (InputKind.REFERENCE, found.reference_image_blob),
        (InputKind.MASK, found.mask_image_blob),
        (InputKind.POSE, found.pose_image_blob),
    )
    return {kind: text for kind, text in texts if text is not None}
