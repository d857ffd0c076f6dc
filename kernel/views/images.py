"""Images, newest first, each with the spec of its job."""

from dataclasses import dataclass

from kernel.protocol.ids import EngineId, ImageId, JobId
from kernel.views.page import Page, id_cursor, page_of
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """A filter of images; None matches all."""

    job_id: JobId | None = None
    engine_id: EngineId | None = None
    is_gone: bool | None = None


def find_image(reader: Reader, image_id: ImageId) -> ImageRow | None:
    """One image by its id."""
    return reader.one("image", ImageRow, {"image_id": image_id})


def list_images(
    reader: Reader, wanted: ImageFilter, now_ms: int, limit: int, after: str | None = None
) -> Page[ImageRow]:
    """A page of images. An expired one counts as gone, although its file may still exist.

    Raises: InvalidField, if `after` is not a cursor.
    """
    found = reader.all(
        _query_of(wanted),
        ImageRow,
        {
            "job_id": wanted.job_id,
            "engine_id": wanted.engine_id,
            "is_gone": None if wanted.is_gone is None else int(wanted.is_gone),
            "now_ms": now_ms,
            "after": id_cursor(after),
            "limit": limit + 1,
        },
    )
    return page_of(found, limit, lambda row: row.image_id)


def _query_of(wanted: ImageFilter) -> str:
    """Each combination of filters is a query of its own, so that each has its index."""
    if wanted.job_id is not None:
        return "images_by_job"
    by_engine = "_by_engine" if wanted.engine_id is not None else ""
    match wanted.is_gone:
        case None:
            return f"images{by_engine}"
        case True:
            return f"images{by_engine}_gone"
        case False:
            return f"images{by_engine}_kept"
