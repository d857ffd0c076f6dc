"""The beginnings of all pages of a list, against the list itself, read page by page."""

from itertools import product
from typing import Any, Final

import msgspec
import pytest

from kernel.protocol.ids import EngineId, JobId, KeyId
from kernel.views.image_pages import PageStarts, page_starts
from kernel.views.images import ImageFilter, list_images
from kernel.views.page import Order
from kernel.views.reader import Reader
from tests.unit.views.database import SPEC, SampleDatabase

NOW_MS: Final = 10_000
WISHES: Final[list[dict[str, Any]]] = [
    {},
    {"engine_id": EngineId("e1")},
    {"engine_id": EngineId("e9")},
    {"job_id": JobId("j3")},
    {"job_id": JobId("j3"), "favorite": False},
    {"job_id": JobId("j9")},
    {"job_id": JobId("j9"), "favorite": False},
    {"prompt": "fox"},
    {"prompt": "bear"},
    {"prompt": "fox", "engine_id": EngineId("e2"), "favorite": True},
    {"created_after_ms": 10, "created_before_ms": 50},
    {"prompt": "fox", "created_before_ms": 31},
    {"key_id": KeyId("k1")},
]


@pytest.fixture
def filled(database: SampleDatabase) -> SampleDatabase:
    """Six jobs with ten images each: some are gone, some have expired and are not ended yet."""
    database.add_engine("e1")
    database.add_engine("e2")
    with database.connection:
        for seq in range(6):
            spec = msgspec.structs.replace(SPEC, prompt=("a fox", "a cat")[seq % 2])
            engine_id = f"e{1 + seq % 2}"
            key = "k1" if seq == 4 else None
            database.add_job(seq, f"j{seq}", spec=spec, engine_id=engine_id, status="finished", key_id=key)
            for position in range(10):
                number = seq * 10 + position
                ends_at_ms = (None, NOW_MS - 1, NOW_MS + 1)[number // 3 % 3]
                gone = "deleted" if number % 4 == 0 else None
                traits = {"engine_id": engine_id, "position": position, "created_at_ms": number}
                own = {"gone_reason": gone, "expires_at_ms": ends_at_ms, "favorite": int(number % 5 == 0)}
                database.add_image(f"00000000-0000-7000-8000-{number:012}", f"j{seq}", **traits, **own)
    return database


@pytest.mark.parametrize(("wish", "is_gone"), list(product(WISHES, (None, True, False))))
def test_every_page_begins_where_the_one_before_ends(
    filled: SampleDatabase, reader: Reader, wish: dict[str, Any], is_gone: bool | None
) -> None:
    wanted = ImageFilter(is_gone=is_gone, **wish)
    for limit, order in product((1, 2, 5, 7, 60, 61), Order):
        total, cursors = 0, []
        after: str | None = None
        while True:
            page = list_images(reader, wanted, NOW_MS, limit, after, order)
            total += len(page.items)
            if (after := page.next_after) is None:
                break
            cursors.append(after)
        assert page_starts(reader, wanted, NOW_MS, limit, order) == PageStarts(total, tuple(cursors))
