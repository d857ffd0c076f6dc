"""Images in HTTP responses: all values of their job, and whether the file is available."""

from datetime import datetime

import msgspec
from msgspec import field
from msgspec.structs import asdict

from api.http.contract.constraints import Limit, check_line, check_text
from api.http.contract.responses import moment, moment_or_none
from api.http.contract.search_query import SearchFilters, search_of
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ControlType, GoneReason, InputKind
from kernel.protocol.ids import EngineId, ImageId, JobId
from kernel.protocol.model_refs import Removers
from kernel.protocol.specs import JobSpec
from kernel.protocol.values import Note, Tag, Tags
from kernel.views.images import ImageFilter
from kernel.views.names import Names, Referring
from kernel.views.page import Order
from kernel.views.rows import ImageRow


class ImageFilters(SearchFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of images."""

    job_id: str | None = None
    gone: bool | None = None
    tag: Tag | None = None
    favorite: bool | None = None


class ImageListQuery(ImageFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the list, and its page."""

    limit: Limit = 50
    after: str | None = None
    order: Order = Order.NEWEST


class ImageEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to say of an image: what is given replaces what was there, and an empty note removes it."""

    tags: Tags | None = None
    favorite: bool | None = None
    note: Note | None = None


def check_edit(found: ImageEdit, faults: ValidationErrors) -> None:
    """Find all that is wrong with what is said of an image."""
    for tag in found.tags or ():
        check_line("tags", tag, faults)
    check_text("note", found.note or "", faults)


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why the file is no longer available, and since when."""

    reason: GoneReason
    at: datetime


class Poses(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of the control maps: drawn by detectors from the pose image, or the pose image itself."""

    openpose_path: str | None = None
    midas_path: str | None = None
    mediapipe_path: str | None = None
    canny_path: str | None = None
    depth_path: str | None = None


class Image(JobSpec, frozen=True, kw_only=True):
    """An image with the recipe that produced it: the values of its job, with its own seed and size."""

    image_id: ImageId
    job_id: JobId
    engine_id: EngineId
    checkpoint: str | None
    index: int
    reference_image_path: str | None
    mask_image_path: str | None
    pose_image_path: str | None
    type_pose: tuple[ControlType, ...]
    poses: Poses
    remove_background: Removers = field(name="remove_background")
    """The name that images have for a job's remove_background_models."""
    tags: tuple[str, ...]
    favorite: bool
    note: str | None
    key_id: str | None
    """The API key of its job; null: none."""
    names: dict[str, str]
    """The names of its engine, checkpoint and other models, and its key, by id."""
    mime: str
    size_bytes: int
    sha256: str
    download: str
    downloads: int
    download_limit: int | None
    gone: Gone | None
    created_at: datetime
    expires_at: datetime | None


class ImagePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of images, newest first; `next` is the cursor of the next page."""

    items: tuple[Image, ...]
    next: str | None


def filter_of(query: ImageFilters, now_ms: int) -> ImageFilter:
    """The filter of a checked query."""
    return ImageFilter(
        job_id=None if query.job_id is None else JobId(query.job_id),
        is_gone=query.gone,
        tag=query.tag,
        favorite=query.favorite,
        **search_of(query, now_ms),
    )


def gone_of(row: ImageRow, now_ms: int) -> Gone | None:
    """Why the image is gone; an expired one counts as gone, although its file may still exist."""
    if row.gone_reason is not None:
        return Gone(reason=row.gone_reason, at=moment(row.gone_at_ms or row.created_at_ms))
    if row.expires_at_ms is not None and row.expires_at_ms <= now_ms:
        return Gone(reason=GoneReason.EXPIRED, at=moment(row.expires_at_ms))
    return None


def referring(row: ImageRow) -> Referring:
    """What it refers to by id."""
    return row.engine_id, row.spec, row.checkpoint, row.key_id


def image_of(row: ImageRow, names: Names, now_ms: int) -> Image:
    """An image as a response."""
    own = {"seed": row.seed, "width_px": row.width_px, "height_px": row.height_px}
    return Image(
        **asdict(row.spec) | own,
        image_id=row.image_id,
        job_id=row.job_id,
        engine_id=row.engine_id,
        checkpoint=row.checkpoint,
        index=row.position,
        reference_image_path=_input_path(row, InputKind.REFERENCE),
        mask_image_path=_input_path(row, InputKind.MASK),
        pose_image_path=_input_path(row, InputKind.POSE),
        type_pose=tuple(control.control_type for control in row.spec.controls),
        poses=_poses(row),
        tags=row.tags,
        favorite=bool(row.favorite),
        note=row.note,
        key_id=row.key_id,
        names=names.of(referring(row)),
        mime=row.mime,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        download=f"/v1/images/{row.image_id}/download",
        downloads=row.downloads,
        download_limit=row.download_limit,
        gone=gone_of(row, now_ms),
        created_at=moment(row.created_at_ms),
        expires_at=moment_or_none(row.expires_at_ms),
    )


def _input_path(row: ImageRow, kind: InputKind) -> str | None:
    """The path of an input image that the image was made from."""
    return f"/v1/images/{row.image_id}/{kind}" if kind in row.spec.inputs else None


def _poses(row: ImageRow) -> Poses:
    """The paths of control maps. A pose image that already was a map is the map; the others were drawn from
    it."""
    paths = {
        use.control_type: _input_path(row, InputKind.POSE)
        if use.is_preprocessed
        else f"/v1/images/{row.image_id}/pose_map?type={use.control_type}"
        for use in row.spec.controls
    }
    return Poses(
        openpose_path=paths.get(ControlType.OPENPOSE),
        midas_path=paths.get(ControlType.MIDAS),
        mediapipe_path=paths.get(ControlType.MEDIAPIPE),
        canny_path=paths.get(ControlType.CANNY),
        depth_path=paths.get(ControlType.DEPTH),
    )
