"""Images, newest or oldest first, each with the spec of its job."""

from dataclasses import dataclass
from typing import Final

from kernel.protocol.ids import ImageId, JobId
from kernel.views.jobs import find_job
from kernel.views.page import Order, Page, id_cursor, page_of
from kernel.views.reader import Reader, SqlValue
from kernel.views.rows import ImageRow, Range, Total
from kernel.views.search import EVERYWHERE, GONE, KEPT, Search, match_of, places_after, search_values

PLACES: Final = 16_384
"""For the images of one job, in the order of all images (migration 0010): more than it can have."""


@dataclass(frozen=True, slots=True)
class ImageFilter(Search):
    """A filter of images; None matches all."""

    job_id: JobId | None = None
    is_gone: bool | None = None


def find_image(reader: Reader, image_id: ImageId) -> ImageRow | None:
    """One image by its id."""
    return reader.one("image", ImageRow, {"image_id": image_id})


def list_images(
    reader: Reader,
    wanted: ImageFilter,
    now_ms: int,
    limit: int,
    after: str | None = None,
    order: Order = Order.NEWEST,
) -> Page[ImageRow]:
    """A page of images. An expired one counts as gone, although its file may still exist.

    Raises: InvalidField, if `after` is not a cursor.
    """
    values: dict[str, SqlValue] = {
        "job_id": wanted.job_id,
        "is_gone": _flag(wanted),
        "now_ms": now_ms,
        "limit": limit + 1,
    }
    if wanted.is_search:
        return page_of(_found(reader, wanted, values, after, order), limit, lambda row: str(row.place))
    values |= {"engine_id": wanted.engine_id, "after": id_cursor(after, order)}
    found = reader.all(_query_of(wanted) + order.suffix, ImageRow, values)
    return page_of(found, limit, lambda row: row.image_id)


def count_images(reader: Reader, wanted: ImageFilter, now_ms: int) -> Total:
    """How many images a search finds, and their bytes."""
    more = search_values(reader, wanted, "image", _states(wanted), EVERYWHERE)
    if more is None:
        return Total(0, 0)
    values = {"is_gone": _flag(wanted), "now_ms": now_ms}
    return reader.one("images_found_total", Total, values | more) or Total(0, 0)


def _states(wanted: ImageFilter) -> tuple[str, ...]:
    return {None: (KEPT, GONE), True: (GONE,), False: (KEPT,)}[wanted.is_gone]


def _flag(wanted: ImageFilter) -> int | None:
    return None if wanted.is_gone is None else int(wanted.is_gone)


def _found(
    reader: Reader, wanted: ImageFilter, values: dict[str, SqlValue], after: str | None, order: Order
) -> list[ImageRow]:
    places = EVERYWHERE
    if wanted.job_id is not None:
        job = find_job(reader, wanted.job_id)
        if job is None:
            return []
        places = Range(job.seq * PLACES, job.seq * PLACES + PLACES - 1)
    more = search_values(reader, wanted, "image", _states(wanted), places_after(after, order, places))
    if more is None:
        return []
    if wanted.is_gone:
        more["match_kept"] = match_of(reader, wanted, (KEPT,))
        return reader.all(f"images_found_gone{order.suffix}", ImageRow, values | more)
    return reader.all(f"images_found{order.suffix}", ImageRow, values | more)


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
