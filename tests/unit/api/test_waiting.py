"""`?wait=` holds the answer back until the end, without ever missing it."""

from threading import Thread

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.resources.waiting import Waiting
from api.hub import Hub
from kernel.protocol.client import Changed, JobProgress
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq, JobId


class Row:
    """A row that is read, and changes between two readings."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.readings = 0

    def read(self) -> str | None:
        self.readings += 1
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def is_over(state: str) -> bool:
    return state == "finished"


def test_what_is_over_is_answered_at_once() -> None:
    assert Waiting(Hub(), ConcurrencyLimit(1)).until("j1", Row("finished").read, is_over, 300.0) == "finished"


def test_without_waiting_it_is_read_once() -> None:
    row = Row("waiting", "finished")
    assert Waiting(Hub(), ConcurrencyLimit(1)).until("j1", row.read, is_over, 0) == "waiting"


def test_when_all_slots_are_taken_nobody_waits() -> None:
    row = Row("waiting", "finished")
    assert Waiting(Hub(), ConcurrencyLimit(0)).until("j1", row.read, is_over, 300.0) == "waiting"


def test_a_change_ends_the_waiting_and_progress_does_not() -> None:
    hub, slots, row = Hub(), ConcurrencyLimit(1), Row("waiting", "finished")
    answers: list[str | None] = []
    waiter = Thread(target=lambda: answers.append(Waiting(hub, slots).until("j1", row.read, is_over, 60.0)))
    waiter.start()
    while row.readings == 0:
        hub.publish(JobProgress(job_id=JobId("j1"), step=1, steps=2))
    hub.publish(Changed(seq=EventSeq(1), kind=ChangeKind.JOB, id="j1", state="finished", at_ms=1))
    waiter.join()
    assert (answers, row.readings, slots.taken) == (["finished"], 2, 0)


def test_a_stopping_server_ends_the_waiting() -> None:
    hub = Hub()
    hub.close()
    assert Waiting(hub, ConcurrencyLimit(1)).until("j1", Row("waiting").read, is_over, 300.0) == "waiting"
