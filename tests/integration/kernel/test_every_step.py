"""An installation lives through every story though its Manager dies, or its disk fails, at any step of it."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.kernel.lives import Story, World
from tests.integration.kernel.steps import Fault, Steps, can_fail, stepping
from tests.integration.kernel.stories import STORIES, furnish
from tests.integration.kernel.whole import assert_whole, the_same_again

Teller = Callable[[World], Story]
STARTS = ""
"""The stage of the steps before the story's first."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    return folder


def live_through(story: Teller, furnished: Path, folder: Path, at: int | None, fault: Fault | None) -> Steps:
    """Tell a story in which one step is the last of a process, or fails; then look at what there is."""
    shutil.copytree(furnished, folder)
    with stepping(Steps(at=at, fault=fault)) as steps:
        world = World(folder, steps)
        world.live_through(story(world))
        count = len(steps.labels)
        assert at is None or steps.has_happened, f"step {at} never came"
        if not _is_left_over(steps):
            assert_whole(world)
        world.live_through(the_same_again(world))
        assert_whole(world)
        del steps.labels[count:]
    shutil.rmtree(folder)
    return steps


def _is_left_over(steps: Steps) -> bool:
    """What a start cannot sweep away is there until the next one."""
    return steps.fault is not None and steps.labels[(steps.at or 1) - 1].startswith(": ")


@pytest.fixture(scope="module")
def dry(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Teller, list[str]]:
    """The steps of each story when nothing happens."""
    folder = tmp_path_factory.mktemp("dry")
    return {story: live_through(story, furnished, folder / "home", None, None).labels for story in STORIES}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("fault", [None, Fault(errno.ENOSPC), Fault(errno.EIO, 30.0), Fault(errno.EIO,3.0)])
def test_all(story: Teller, fault, furnished: Path, dry, tmp_path: Path) -> None:
    labels = dry[story]
    bad = []
    n = 0
    for at, label in enumerate(labels, 1):
        if fault is not None and not can_fail(label): continue
        if "log, write" in label and at > 1 and at < len(labels) and labels[at-2] == label == labels[at]: continue
        n += 1
        try:
            live_through(story, furnished, tmp_path / str(at), at, fault)
        except Exception as e:
            bad.append((at, label, repr(e)[:300]))
            import traceback; 
            if len(bad) < 3: traceback.print_exc()
    print(n, "steps")
    for b in bad: print(b)
    assert not bad
