"""The request body that submits a job."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.http.contract.constraints import Id, ModelRef, ModelRefs, Priority, RemoverRefs, VaeRef, Wait
from api.http.contract.model_refs import Loras
from api.http.contract.retention import Expiry, Patience
from kernel.protocol.enums import ControlType, InputKind
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.specs import JobValues
from kernel.protocol.values import ControlScale, Fraction, Name
from kernel.protocol.webhooks import CallbackEvents, CallbackUrl

LATER_FIELDS: Final[frozenset[str]] = frozenset()

BLOB_FIELDS: Final[Mapping[InputKind, str]] = MappingProxyType(
    {
        InputKind.REFERENCE: "reference_image_blob",
        InputKind.MASK: "mask_image_blob",
        InputKind.POSE: "pose_image_blob",
    }
)
"""The field of each input image, in a JSON body and in a form."""
IMAGE_FIELDS: Final[Mapping[InputKind, str]] = MappingProxyType(
    {
        InputKind.REFERENCE: "reference_image_id",
        InputKind.MASK: "mask_image_id",
        InputKind.POSE: "pose_image_id",
    }
)
"""The field of each input image that is an image of the server."""

RANDOM_SEED: Final = -1
"""The way other tools ask for a random seed; here, leaving it out does the same."""
_MANY: Final = len(ControlType)
Blob = Annotated[
    str,
    Meta(
        min_length=1,
        description="PNG, JPEG or WebP file as base64 or as a data: URL.",
        extra_json_schema={"contentEncoding": "base64"},
    ),
]
AnySeed = Annotated[int, Meta(ge=RANDOM_SEED, le=MAX_INTEGER, description="-1 for a random one.")]
ControlTypes = Annotated[tuple[ControlType, ...], Meta(min_length=1, max_length=_MANY)]
ControlScales = Annotated[tuple[ControlScale, ...], Meta(min_length=1, max_length=_MANY)]
Fractions = Annotated[tuple[Fraction, ...], Meta(min_length=1, max_length=_MANY)]


class JobFields(JobValues, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a job that mean the same tomorrow, so that a preset may have them."""

    seed: AnySeed | None = None
    engine_id: Id | None = None
    engine: Name | None = None
    checkpoint: ModelRef | None = None
    loras: Loras | None = None
    embeddings: ModelRefs | None = None
    vae: VaeRef | None = None
    wildcards: bool | None = None
    """Whether `__name__` and `{a|b}` in the prompts are choices. None: if `wildcards.folders` has folders."""
    control_models: ModelRefs | None = None
    type_pose: ControlType | ControlTypes | None = None
    preprocessed: bool = False
    control_scale: ControlScale | ControlScales | None = None
    control_start: Fraction | Fractions | None = None
    control_end: Fraction | Fractions | None = None
    remove_background_models: RemoverRefs = ()
    expire_after: Expiry | None = None
    give_up_after: Patience | None = None
    priority: Priority = 0


class JobInput(JobFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job for an engine, named by `engine_id` or `engine`, or for an engine of `checkpoint`; without any,
    the server's default is used. Omitted fields take the engine's defaults."""

    like: Id | None = None
    """An image: what is not given has the value of its job, rather than the engine's."""
    reference_image_blob: Blob | None = None
    mask_image_blob: Blob | None = None
    pose_image_blob: Blob | None = None
    reference_image_id: Id | None = None
    """An image of the server, in place of a file; it is copied, and no download of it is counted."""
    mask_image_id: Id | None = None
    pose_image_id: Id | None = None
    callback_url: CallbackUrl | None = None
    callback_events: CallbackEvents | None = None


class JobCreateQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds to wait for the job to end; or only validate the job without submitting it."""

    wait: Wait | None = None
    validate_only: bool = False


def images_in(found: JobInput) -> dict[InputKind, str]:
    """The input images of a JSON body, as base64 text."""
    texts = (
        (InputKind.REFERENCE, found.reference_image_blob),
        (InputKind.MASK, found.mask_image_blob),
        (InputKind.POSE, found.pose_image_blob),
    )
    return {kind: text for kind, text in texts if text is not None}


def kinds_in(found: JobInput) -> set[InputKind]:
    """The input images that a JSON body brings or names."""
    named = {kind for kind, field in IMAGE_FIELDS.items() if getattr(found, field) is not None}
    return named | images_in(found).keys()


def field_of(found: JobInput, kind: InputKind) -> str:
    """The field by which a job has an input image."""
    by_id = IMAGE_FIELDS[kind]
    return BLOB_FIELDS[kind] if getattr(found, by_id) is None else by_id
