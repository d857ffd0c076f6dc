"""What jobs and images are searched by: the parameters of both lists, and times as people write them."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, field

from api.http.contract.constraints import Limit, ModelRef, check_text
from api.http.contract.validation_errors import ValidationErrors
from conf.units import parse_duration_s
from kernel.protocol.type_info import analyzed
from kernel.protocol.values import MAX_LIFE_S, MAX_SIDE_PX, Name, Seed
from kernel.views.page import Order
from kernel.views.search import words_of

SearchText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1_000,
        description="Words of the prompt, in any order and case; words in double quotes in this order.",
    ),
]
Moment = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description='A time (RFC 3339), a day in UTC ("2026-01-31"), or how long ago ("7d").',
    ),
]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE_PX)]


class SearchFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of jobs and of images. `engine`, `checkpoint`, `lora` and `key` are ids or names."""

    prompt: SearchText | None = None
    engine_id: str | None = None
    engine: Name | None = None
    checkpoint: ModelRef | None = None
    lora: ModelRef | None = None
    key: Name | None = None
    seed: Seed | None = None
    width_px: Side | None = field(default=None, name="width")
    height_px: Side | None = field(default=None, name="height")
    created_after: Moment | None = None
    created_before: Moment | None = None


class SearchQuery(SearchFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of jobs and of images, and the page."""

    limit: Limit = 50
    after: str | None = None
    order: Order = Order.NEWEST


_SHARED: Final = frozenset(SearchFilters.__struct_fields__) - {"created_after", "created_before", "key"}


def search_of(query: SearchFilters, now_ms: int) -> dict[str, Any]:
    """The fields of `kernel.views.search.Search` that a checked query has."""
    return {name: getattr(query, name) for name in _SHARED} | {
        "created_after_ms": _moment_ms(query.created_after, now_ms),
        "created_before_ms": _moment_ms(query.created_before, now_ms),
    }


def check_search(query: SearchFilters, faults: ValidationErrors) -> None:
    """Find all that is wrong with what is searched for."""
    if query.prompt is not None:
        check_text("prompt", query.prompt, faults)
        if not words_of(query.prompt):
            faults.wrong("prompt", "must contain a word: a letter or a digit")
    for name in ("created_after", "created_before"):
        try:
            _moment_ms(getattr(query, name), 0)
        except ValueError:
            faults.wrong(
                name,
                "must be a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31, or an age such as 7d",
            )


def _moment_ms(said: str | None, now_ms: int) -> int | None:
    """Milliseconds since 1970 UTC. Raises: ValueError, if it is no time, day or duration."""
    if said is None:
        return None
    try:
        age_s = parse_duration_s(said)
    except ValueError:
        return int(_time_of(said).timestamp() * 1_000)
    if age_s > MAX_LIFE_S:
        raise ValueError(f"{said} is too long ago")
    return now_ms - int(age_s * 1_000)


def _time_of(said: str) -> datetime:
    try:
        found: datetime = msgspec.convert(said, analyzed(Annotated[datetime, Meta(tz=True)]))
        return found
    except msgspec.ValidationError:
        return datetime.combine(msgspec.convert(said, analyzed(date)), datetime.min.time(), UTC)
