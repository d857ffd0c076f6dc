"""A lane with patience: work that hangs is given up with all that it holds up, and harms nothing later."""

from queue import SimpleQueue
from threading import Event
from threading import enumerate as threads

import pytest

from engine_worker.engine.runtime.watchdog_thread import WatchdogThread

pytestmark = pytest.mark.torch

SOON_S = 0.3
NEVER_S = 600.0
PATIENCE_S = 30.0


class Desk:
    """Work that hangs until its door is opened, and what is heard of it."""

    def __init__(self, patience_s: float, name: str = "desk") -> None:
        self.doors: dict[str, Event] = {}
        self.begun: SimpleQueue[str] = SimpleQueue()
        self.done: SimpleQueue[str] = SimpleQueue()
        self.given_up: SimpleQueue[tuple[str, bool]] = SimpleQueue()
        self.lane: WatchdogThread[str] = WatchdogThread(name, self._do, self._give_up, patience_s)

    def _do(self, work: str) -> None:
        self.begun.put(work)
        if work in self.doors:
            assert self.doors[work].wait(PATIENCE_S)
        self.done.put(work)

    def _give_up(self, work: str, is_at_hand: bool) -> None:
        self.given_up.put((work, is_at_hand))


def hanging_desk(patience_s: float) -> Desk:
    desk = Desk(patience_s)
    desk.doors["hangs"] = Event()
    return desk


def test_work_is_done_in_order_and_nothing_is_left_running() -> None:
    desk = Desk(NEVER_S, "orderly desk")
    for work in ("a", "b", "c"):
        desk.lane.put(work)
    desk.lane.close()
    assert [desk.done.get_nowait() for _ in range(3)] == ["a", "b", "c"]
    assert desk.given_up.empty()
    assert not [thread for thread in threads() if thread.name == "orderly desk"]


def test_work_that_hangs_is_given_up_with_all_that_it_holds_up() -> None:
    desk = hanging_desk(SOON_S)
    for work in ("hangs", "behind", "behind too"):
        desk.lane.put(work)
    told = [desk.given_up.get(timeout=PATIENCE_S) for _ in range(3)]
    assert told == [("hangs", True), ("behind", False), ("behind too", False)]
    desk.lane.put("late")
    assert desk.given_up.get(timeout=PATIENCE_S) == ("late", False)
    desk.doors["hangs"].set()
    desk.lane.close()


def test_a_lane_whose_work_ended_after_all_takes_work_again() -> None:
    desk = hanging_desk(SOON_S)
    for work in ("hangs", "behind"):
        desk.lane.put(work)
    assert desk.given_up.get(timeout=PATIENCE_S) == ("hangs", True)
    desk.doors["hangs"].set()
    assert [desk.begun.get(timeout=PATIENCE_S) for _ in range(2)] == ["hangs", "behind"]
    desk.lane.put("new")
    desk.lane.close()
    assert [desk.done.get_nowait() for _ in range(3)] == ["hangs", "behind", "new"]


def test_closing_does_not_wait_for_work_that_hangs() -> None:
    desk = hanging_desk(SOON_S)
    desk.lane.put("hangs")
    desk.given_up.get(timeout=PATIENCE_S)
    desk.lane.close()
    assert desk.done.empty()
    desk.doors["hangs"].set()
    assert desk.done.get(timeout=PATIENCE_S) == "hangs"


def test_the_next_piece_gets_the_whole_patience() -> None:
    desk = hanging_desk(NEVER_S)
    desk.lane.put("hangs")
    desk.lane.put("next")
    assert desk.begun.get(timeout=PATIENCE_S) == "hangs"
    desk.doors["hangs"].set()
    desk.lane.close()
    assert desk.given_up.empty()
    assert [desk.done.get_nowait() for _ in range(2)] == ["hangs", "next"]
