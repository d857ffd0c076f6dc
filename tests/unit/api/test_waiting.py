"""`?wait=` holds the answer back until the end, without a thread and without ever missing it."""

import falcon
import falcon.testing
import pytest

from api.http.contract.errors import TooManyWaits
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.deferral import RESUMED, Parked
from api.http.resources.waiting import Waiting
from api.hub import Hub
from kernel.protocol.client import Changed, JobProgress
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq, JobId


class Stand:
    """One request for the job j1, which has these states in turn whenever somebody looks."""

    def __init__(self, *states: str, limit: int = 1) -> None:
        self.states = list(states)
        self.looks = 0
        self.answers: list[str] = []
        self.resumed = 0
        self.hub, self.waits = Hub(), ConcurrencyLimit(limit, has_threads=False)
        self.waiting = Waiting(self.hub, self.waits, ConcurrencyLimit(1))
        self.req, self.resp = falcon.testing.create_req(), falcon.Response()
        self.parked: Parked | None = None

    def ask(self, wait_s: float | None) -> None:
        try:
            self.waiting.answer(self.req, self.resp, "j1", wait_s, self.look)
        except Parked as parked:
            self.park(parked)

    def park(self, parked: Parked) -> None:
        self.parked = parked
        parked.wait.bell.call(self.resume)

    def resume(self) -> None:
        """What a thread does when the wait rings."""
        assert self.parked is not None
        self.resumed += 1
        try:
            self.parked.environment[RESUMED](self.resp)  # type: ignore[operator]
        except Parked as parked:
            self.park(parked)

    def look(self, resp: falcon.Response, is_last: bool) -> bool:
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state != "finished" and not is_last:
            return False
        self.answers.append(state)
        return True

    def change(self, seq: int = 1, thing_id: str = "j1", state: str = "failed") -> None:
        change = Changed(seq=EventSeq(seq), kind=ChangeKind.JOB, id=thing_id, state=state, at_ms=1)
        self.hub.publish(change)


@pytest.mark.parametrize("wait_s", [None, 0, 300.0])
def test_what_is_over_is_answered_at_once(wait_s: float | None) -> None:
    stand = Stand("finished")
    stand.ask(wait_s)
    assert (stand.answers, stand.looks, stand.waits.taken) == (["finished"], 1, 0)


def test_without_waiting_it_is_looked_at_once() -> None:
    stand = Stand("waiting", "finished")
    stand.ask(None)
    assert stand.answers == ["waiting"]


def test_a_change_ends_the_waiting_and_progress_and_other_changes_do_not() -> None:
    stand = Stand("waiting", "processing", "finished")
    stand.ask(60.0)
    assert (stand.answers, stand.waits.taken) == ([], 1)
    stand.hub.publish(JobProgress(job_id=JobId("j1"), step=1, steps=2))
    stand.change(1, "j2")
    stand.change(2, state="processing")
    assert stand.looks == 1
    stand.change(3)
    assert (stand.looks, stand.answers) == (2, [])
    stand.change(4)
    stand.change(5)
    assert (stand.looks, stand.answers, stand.waits.taken) == (3, ["finished"], 0)


def test_a_change_between_the_look_and_the_parking_is_not_missed() -> None:
    stand = Stand("waiting", "finished")
    with pytest.raises(Parked) as caught:
        stand.waiting.answer(stand.req, stand.resp, "j1", 60.0, stand.look)
    stand.change()
    stand.park(caught.value)
    assert stand.answers == ["finished"]


def test_when_the_time_is_over_the_ring_answers_with_what_there_is() -> None:
    stand = Stand("waiting")
    stand.ask(1e-9)
    assert (stand.answers, stand.waits.taken) == (["waiting"], 0)


def test_a_missed_notice_lets_everybody_look_again() -> None:
    stand = Stand("waiting", "finished")
    stand.ask(60.0)
    stand.hub.tell_to_reread()
    assert stand.answers == ["finished"]


def test_a_client_that_leaves_gives_its_slot_back_and_is_called_no_more() -> None:
    stand = Stand("waiting", "finished")
    stand.ask(60.0)
    assert stand.parked is not None
    stand.parked.wait.drop()
    stand.parked.wait.drop()
    stand.change()
    assert (stand.waits.taken, stand.resumed) == (0, 0)


def test_a_stopping_server_ends_the_waiting_of_all_present_and_future() -> None:
    present, future = Stand("waiting"), Stand("waiting")
    present.ask(300.0)
    present.hub.close()
    future.hub.close()
    future.ask(300.0)
    assert present.answers == future.answers == ["waiting"]


def test_too_many_waits_are_refused_before_anything_changes_and_nobody_else_is() -> None:
    stand = Stand("waiting", limit=0)
    stand.waiting.check_room(None)
    with pytest.raises(TooManyWaits, match="0 requests wait already"):
        stand.waiting.check_room(5.0)
    with pytest.raises(TooManyWaits):
        stand.ask(5.0)
    stand.ask(None)
    assert stand.answers == ["waiting"]


def test_an_error_while_looking_gives_the_slot_back() -> None:
    stand = Stand()
    with pytest.raises(IndexError):
        stand.ask(5.0)
    assert stand.waits.taken == 0
