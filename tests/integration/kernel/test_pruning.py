"""Which images are due, and which ones PruneImages is about."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import Prunable
from kernel.protocol.client import PruneImages
from kernel.protocol.enums import GoneReason
from kernel.protocol.ids import EngineId, ImageId
from kernel.protocol.rows import ImageRow
from kernel.shell.state_reader import DUE_AT_ONCE, StateReader
from kernel.shell.store import Store
from tests.integration.kernel.rows import FREE_IMAGE, NOW_MS
from tests.integration.kernel.saving import saved

HOUR_MS = 3_600_000
LATER_MS = NOW_MS + 10 * HOUR_MS


def an_image(name: str, hour: int, *, expires: int | None = None, engine: str = "e1") -> ImageRow:
    """100 bytes, made and expired at these hours."""
    return replace(
        FREE_IMAGE,
        image_id=ImageId(name),
        engine_id=EngineId(engine),
        file_name=f"{name}.png",
        size_bytes=100,
        created_at_ms=NOW_MS + hour * HOUR_MS,
        expires_at_ms=None if expires is None else NOW_MS + expires * HOUR_MS,
    )


@pytest.fixture(autouse=True)
def images(store: Store) -> None:
    rows = (
        an_image("old", 1),
        an_image("expired", 8, expires=9),
        an_image("new", 9, expires=99),
        an_image("other", 2, engine="e2"),
    )
    saved(store, *map(actions.AddImage, rows))


def pruned(state_reader: StateReader, ask: PruneImages) -> dict[str, GoneReason]:
    return dict(state_reader.prunable(ask, LATER_MS).images)


def test_without_a_wish_only_what_has_expired_is_pruned(state_reader: StateReader) -> None:
    assert pruned(state_reader, PruneImages()) == {"expired": GoneReason.EXPIRED}


def test_older_images_go_by_their_age(state_reader: StateReader) -> None:
    found = pruned(state_reader, PruneImages(older_than_s=8 * 3600.0))
    assert found == {"old": GoneReason.DELETED, "other": GoneReason.DELETED, "expired": GoneReason.EXPIRED}


def test_the_oldest_go_until_the_rest_is_small_enough(state_reader: StateReader) -> None:
    found = pruned(state_reader, PruneImages(keep_bytes=200))
    assert found == {"expired": GoneReason.EXPIRED, "old": GoneReason.QUOTA}


def test_an_engine_narrows_what_is_pruned_and_what_is_counted(state_reader: StateReader) -> None:
    assert pruned(state_reader, PruneImages(engine_id=EngineId("e2"), keep_bytes=0)) == {
        "other": GoneReason.QUOTA
    }
    assert pruned(state_reader, PruneImages(engine_id=EngineId("e2"), keep_bytes=100)) == {}


def test_what_expires_makes_room_so_that_fewer_go_for_the_quota(store: Store) -> None:
    due = StateReader(store.connection, 300).images_due(LATER_MS)
    assert due == (("expired", GoneReason.EXPIRED),)


def test_a_dry_run_counts_all_and_a_real_one_takes_a_part_at_a_time(
    store: Store, state_reader: StateReader
) -> None:
    saved(store, *(actions.AddImage(an_image(f"n{n}", 0)) for n in range(DUE_AT_ONCE)))
    ask = PruneImages(older_than_s=0.0)
    dry = state_reader.prunable(PruneImages(older_than_s=0.0, dry_run=True), LATER_MS)
    assert (dry.counted, dry.size_bytes, dry.has_more) == (
        DUE_AT_ONCE + 4,
        100 * (DUE_AT_ONCE + 4),
        False,
    )
    first = state_reader.prunable(ask, LATER_MS)
    assert (len(first.images), first.has_more) == (DUE_AT_ONCE, True)
    saved(store, *(actions.EndImage(image_id, why, LATER_MS) for image_id, why in first.images))
    assert state_reader.prunable(ask, LATER_MS) == Prunable(
        images=state_reader.prunable(ask, LATER_MS).images, size_bytes=400, has_more=False
    )


def test_images_without_a_file_are_lost_and_free_no_room(store: Store, state_reader: StateReader) -> None:
    there = frozenset({"expired.png", "new.png", "other.png"})
    found = state_reader.prunable(PruneImages(missing=True), LATER_MS, there)
    assert dict(found.images) == {"old": GoneReason.LOST, "expired": GoneReason.EXPIRED}
    assert (found.size_bytes, found.missing_files) == (100, ("old.png",))
    of_an_engine = state_reader.prunable(PruneImages(engine_id=EngineId("e2"), missing=True), LATER_MS, there)
    assert of_an_engine.images == ()


def test_images_without_a_file_count_for_no_quota(store: Store, state_reader: StateReader) -> None:
    ask = PruneImages(missing=True, keep_bytes=200)
    found = state_reader.prunable(ask, LATER_MS, frozenset({"expired.png", "new.png", "other.png"}))
    assert dict(found.images) == {"old": GoneReason.LOST, "expired": GoneReason.EXPIRED}
    saved(store, actions.EndImage(ImageId("old"), GoneReason.LOST, LATER_MS))
    assert pruned(state_reader, PruneImages(keep_bytes=300)) == {"expired": GoneReason.EXPIRED}


@pytest.mark.parametrize("jump_ms", [0, HOUR_MS, -HOUR_MS])
def test_a_clock_that_jumps_ends_a_picture_early_by_no_more_than_the_jump(
    store: Store, state_reader: StateReader, jump_ms: int
) -> None:
    """Told by true time: the calendar shows it, and `jump_ms` more."""
    life_ms = 2 * HOUR_MS
    row = replace(an_image("here", 0), expires_at_ms=NOW_MS + life_ms)
    saved(store, actions.AddImage(row))
    true_end_ms = NOW_MS + life_ms - max(jump_ms, 0)
    assert "here" not in dict(state_reader.images_due(true_end_ms - 1 + min(jump_ms, 0)))
    assert "here" in dict(state_reader.images_due(NOW_MS + life_ms))
