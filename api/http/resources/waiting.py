"""`?wait=`: a response that waits until something rests, without a thread and without polling the database.

The responder looks once. If what it looks at does not rest yet, the request is parked
(`api.http.framework.deferral`): a change of it, the end of the time or the end of the server lets a thread
look again. It listens before it looks, so that a change between the two is not missed. A notice that is lost
shows in the next one, or in the regular answer to the subscription: then the hub has everybody look again.
"""

import time
from collections.abc import Callable
from typing import Final

import falcon

from api.http.contract.errors import TooManyWaits
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.deferral import RESUMED, Bell, Environment, Parked
from api.http.framework.thread_pools import Pool
from api.hub import Closing, Hub, Notice
from api.session import Preview
from kernel.protocol.client import Changed, EngineProgress, JobProgress, ModelProgress
from kernel.protocol.enums import ENDED_JOB_STATES, ChangeKind

Look = Callable[[falcon.Response, bool], bool]
"""Reads what is awaited, and answers if it rests, or in any case if the flag says so. Returns: whether it has
answered."""

RETRY_AFTER_S: Final = 5.0


class Waiter:
    """One request that waits for a change of one thing. It has a slot until it is dropped."""

    def __init__(self, hub: Hub, slots: ConcurrencyLimit, thing_id: str, until_s: float, pool: Pool) -> None:
        self.ids: tuple[str, ...] | None = (thing_id,)
        self.until_s = until_s
        self.pool = pool
        self.bell = Bell()
        self._hub, self._slots = hub, slots
        self._is_closing = False

    @property
    def is_over(self) -> bool:
        """True if the request is to be answered now, whatever there is."""
        return self._is_closing or time.monotonic() >= self.until_s

    def put(self, notice: Notice) -> None:
        """Called by the hub."""
        match notice:
            case JobProgress() | ModelProgress() | EngineProgress() | Preview():
                return
            case Changed(kind=ChangeKind.JOB, state=state) if state not in ENDED_JOB_STATES:
                return
            case Closing():
                self._is_closing = True
        self.bell.ring()

    def drop(self) -> None:
        """It waits no more."""
        if self.bell.stop():
            self._hub.leave(self)
            self._slots.give_back()


class Waiting:
    """Answers requests when what they wait for rests, or after their time."""

    def __init__(self, hub: Hub, waits: ConcurrencyLimit, slots: ConcurrencyLimit) -> None:
        """`waits`: for requests that wait without a thread."""
        self._hub = hub
        self._waits = waits
        self.slots = slots
        """For requests that wait with one, until there is memory for their images."""

    def check_room(self, wait_s: float | None) -> None:
        """Check that another request may wait. Commands do so before they change anything.

        Raises: TooManyWaits.
        """
        if wait_s and self._waits.taken >= self._waits.limit:
            raise self._refusal()

    def answer(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        thing_id: str,
        wait_s: float | None,
        look: Look,
        *,
        pool: Pool = Pool.PARKED,
    ) -> None:
        """Answer as soon as `look` does, at the latest after `wait_s`. The thread is given back meanwhile.

        `pool`: for looks that ask the Manager another one than this.

        Raises: TooManyWaits; as `look`.
        """
        if not wait_s:
            look(resp, True)
            return
        if not self._waits.take():
            raise self._refusal()
        waiter = Waiter(self._hub, self._waits, thing_id, time.monotonic() + wait_s, pool)
        self._hub.join(waiter)
        self._look(req.env, resp, waiter, look)

    def _look(self, environment: Environment, resp: falcon.Response, waiter: Waiter, look: Look) -> None:
        waiter.bell.listen()
        is_answered = True
        try:
            is_answered = look(resp, waiter.is_over)
        finally:
            if is_answered:
                waiter.drop()
        if not is_answered:
            environment[RESUMED] = lambda resp: self._look(environment, resp, waiter, look)
            raise Parked(environment, waiter)

    def _refusal(self) -> TooManyWaits:
        return TooManyWaits(
            f"{self._waits.limit} requests wait already (?wait=): ask without it, or try again later",
            retry_after_s=RETRY_AFTER_S,
        )
