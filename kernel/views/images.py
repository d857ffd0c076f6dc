"""Images, newest or oldest first, each with the spec of its job."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

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


def find_images(reader: Reader, image_ids: Sequence[ImageId]) -> dict[ImageId, ImageRow]:
    """Those of the images that there are, by their ids."""
    found = reader.all("images_named", ImageRow, {"ids": msgspec.json.encode(image_ids).decode()})
    return {row.image_id: row for row in found}


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
    values = filter_values(wanted, now_ms) | {"job_id": wanted.job_id, "limit": limit + 1}
    if wanted.is_search:
        return page_of(_found(reader, wanted, values, after, order), limit, lambda row: str(row.place))
    values |= {"engine_id": wanted.engine_id, "after": id_cursor(after, order)}
    found = reader.all(_query_of(wanted) + order.suffix, ImageRow, values)
    return page_of(found, limit, lambda row: row.image_id)


def count_images(reader: Reader, wanted: ImageFilter, now_ms: int) -> Total:
    """How many images a search finds, and their bytes."""
    more = search_values(reader, wanted, "image", states_of(wanted), EVERYWHERE)
    if more is None:
        return Total(0, 0)
    return reader.one("images_found_total", Total, filter_values(wanted, now_ms) | more) or Total(0, 0)


def states_of(wanted: ImageFilter) -> tuple[str, ...]:
    """The states that are let through, as the index has them."""
    return {None: (KEPT, GONE), True: (GONE,), False: (KEPT,)}[wanted.is_gone]


def filter_values(wanted: ImageFilter, now_ms: int) -> dict[str, SqlValue]:
    """The parameters by which queries let images through that are there, or gone."""
    return {"is_gone": None if wanted.is_gone is None else int(wanted.is_gone), "now_ms": now_ms}


def places_of(reader: Reader, wanted: ImageFilter) -> Range | None:
    """Where the images of a job are among all; everywhere without one; None, if there is no such job."""
    if wanted.job_id is None:
        return EVERYWHERE
    job = find_job(reader, wanted.job_id)
    return None if job is None else Range(job.seq * PLACES, job.seq * PLACES + PLACES - 1)


def _found(
    reader: Reader, wanted: ImageFilter, values: dict[str, SqlValue], after: str | None, order: Order
) -> list[ImageRow]:
    if (places := places_of(reader, wanted)) is None:
        return []
    more = search_values(reader, wanted, "image", states_of(wanted), places_after(after, order, places))
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
