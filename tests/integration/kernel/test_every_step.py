"""An installation lives through every story though its Manager dies, or its disk fails, at any step of it.

The steps are those that a dry run takes. Of the writes in a row by which SQLite puts pages into its log the
first is tried, and the sync after the last; of a failing disk a quarter of SQLite's. `STEPS=all` in the
environment tries every single step, `STEPS_TWICE=2000` so many pairs of deaths; `-s` shows what was tried.
"""

import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.integration.kernel.lives import Story, World
from tests.integration.kernel.steps import Fault, Steps, can_fail, is_of_sqlite, stepping
from tests.integration.kernel.stories import STORIES, furnish
from tests.integration.kernel.whole import assert_whole, the_same_again

Teller = Callable[[World], Story]
Plan = tuple[Teller, int]
FULL_ONCE = Fault(errno.ENOSPC)
BROKEN_FOR_A_WHILE = Fault(errno.EIO, lasts_s=3.0)
"""So long that what is tried again a few times comes through."""
FULL_FOR_LONG = Fault(errno.ENOSPC, lasts_s=30.0)
"""So long that nothing does."""
FAULTS = (FULL_ONCE, BROKEN_FOR_A_WHILE, FULL_FOR_LONG)
PAUSE_S = 60.0
"""More than any disk stays broken."""
PAIRS = 60

tries_all = os.environ.get("STEPS") == "all"
pairs = int(os.environ.get("STEPS_TWICE", PAIRS))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory, where there is such a place: thousands of installations are made and removed in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as found:
        yield Path(found)


@pytest.fixture(scope="module")
def furnished(folder: Path) -> Path:
    (folder / "furnished").mkdir()
    furnish(folder / "furnished")
    return folder / "furnished"


@pytest.fixture(scope="module")
def dry(furnished: Path, folder: Path) -> dict[Teller, list[str]]:
    """The steps of each story when nothing happens, by their labels."""
    return {story: live_through(story, furnished, folder / "home", Steps()) for story in STORIES}


def live_through(story: Teller, furnished: Path, folder: Path, steps: Steps) -> list[str]:
    """Tell a story, whatever happens at its steps; then look at what there is. Returns: the steps."""
    shutil.copytree(furnished, folder)
    with stepping(steps):
        world = World(folder, steps)
        world.live_through(story(world))
        labels = steps.labels[:]
        assert steps.has_happened or steps.at is None, "the step never came"
        if not _is_left_for_the_next_start(steps):
            assert_whole(world)
        steps.now_s += PAUSE_S
        world.live_through(the_same_again(world))
        assert_whole(world)
    shutil.rmtree(folder)
    return labels


def _is_left_for_the_next_start(steps: Steps) -> bool:
    """What a start cannot sweep away stays until the next one."""
    return steps.fault is not None and steps.at is not None and steps.labels[steps.at - 1].startswith("start")


@pytest.mark.sampled(3)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("story", STORIES)
def test_whatever_step_is_the_last_of_a_manager_the_next_one_loses_and_doubles_nothing(
    story: Teller, furnished: Path, dry: dict[Teller, list[str]], folder: Path
) -> None:
    labels = dry[story]
    tried = list(_without_rows_of_writes(labels))
    for at in tried:
        _try(story, furnished, folder, Steps(at=at))
    _tell(f"killed, {story.__name__}", labels, tried)


@pytest.mark.sampled(3)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("story", STORIES)
def test_at_whatever_step_the_power_goes_no_row_has_lost_its_file(
    story: Teller, furnished: Path, dry: dict[Teller, list[str]], folder: Path
) -> None:
    labels = dry[story]
    tried = [at for at in _without_rows_of_writes(labels) if not labels[at - 1].endswith("log, write")]
    tried = tried if tries_all else tried[::2]
    for at in tried:
        _try(story, furnished, folder, Steps(at=at, loses_power=True))
    _tell(f"without power, {story.__name__}", labels, tried)


@pytest.mark.sampled(6)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_step_a_disk_refuses_clients_are_told_and_all_is_well_once_it_is(
    story: Teller, fault: Fault, furnished: Path, dry: dict[Teller, list[str]], folder: Path
) -> None:
    labels = dry[story]
    tried = [at for at in _without_rows_of_writes(labels) if can_fail(labels[at - 1])]
    if not tries_all:
        of_sqlite = [at for at in tried if is_of_sqlite(labels[at - 1])]
        tried = sorted(set(tried) - set(of_sqlite) | set(of_sqlite[FAULTS.index(fault) :: 4]))
    for at in tried:
        _try(story, furnished, folder, Steps(at=at, fault=fault))
    _tell(f"{errno.errorcode[fault.number]} for {fault.lasts_s:g} s, {story.__name__}", labels, tried)


@pytest.mark.timeout(0)
def test_a_manager_that_dies_on_its_way_back_does_no_harm(
    furnished: Path, dry: dict[Teller, list[str]], folder: Path
) -> None:
    chance = Random(7)
    for _ in range(pairs):
        story = chance.choice(STORIES)
        steps = Steps(at=chance.randint(1, len(dry[story])), then=chance.randint(1, 60))
        _try(story, furnished, folder, steps)


def _try(story: Teller, furnished: Path, folder: Path, steps: Steps) -> None:
    at = steps.at or 1
    try:
        live_through(story, furnished, folder / "home", steps)
    except AssertionError as error:
        shutil.rmtree(folder / "home")
        raise AssertionError(f"step {at}, {steps.labels[at - 1]}: {error}") from error


def _without_rows_of_writes(labels: list[str]) -> Iterator[int]:
    """The number of each step, less SQLite's writes that follow one."""
    for at, label in enumerate(labels, start=1):
        if tries_all or not is_of_sqlite(label) or at == 1 or label != labels[at - 2]:
            yield at


def _tell(what: str, labels: list[str], tried: list[int]) -> None:
    print(f"\n{what}: {len(tried)} of {len(labels)} steps")
    for label, count in Counter(labels[at - 1] for at in tried).items():
        print(f"  {count:3} {label}")
