"""Submits jobs and waits for them, for a bounded time, also while the server restarts."""

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from api.cli.client.client_models import Job
from api.cli.client.events import Sleep
from api.cli.client.rest import Rest, quoted, read
from api.cli.exit_codes import Refusal, ServerUnreachable
from kernel.protocol.errors import ManagerUnreachable, Unavailable

Answer = TypeVar("Answer")

_LOOK_S: Final = 1.0
"""How long the server holds a request that waits: the progress is told as often."""
_RETRY_S: Final = 0.5
_RESTART_S: Final = 20.0
"""A server that is killed is back by then, if somebody starts it again."""
_PASSING: Final = frozenset({ManagerUnreachable.code, Unavailable.code, "too_many_waits"})


class JobWaiter:
    """Asks one server for jobs. Whatever is sent again has the same effect as if it was sent once."""

    def __init__(
        self, rest: Rest, clock: Callable[[], float] = time.monotonic, sleep: Sleep = time.sleep
    ) -> None:
        self._rest = rest
        self._clock = clock
        self._sleep = sleep

    def submit(self, body: Mapping[str, object], key: str) -> Job:
        """The accepted job; `key` is the Idempotency-Key. Raises: Refusal, ServerUnreachable."""
        return self.patiently(lambda: read(self._rest.post("/v1/jobs", body, key=key), Job))

    def patiently(self, ask: Callable[[], Answer]) -> Answer:
        """The answer to a request that may be repeated, if need be of a server that restarts meanwhile."""
        end = self._clock() + _RESTART_S
        while True:
            try:
                return ask()
            except (ServerUnreachable, Refusal) as error:
                if not _is_passing(error) or self._clock() >= end:
                    raise
            self._sleep(_RETRY_S)

    def ended(self, job: Job, wait_s: float, told: Callable[[Job], None]) -> Job:
        """The job once it has ended, or as it is after `wait_s` seconds. `told` hears of it once a second.

        Raises: Refusal, if it is no longer there.
        """
        end = self._clock() + wait_s
        while not job.is_ended and (left_s := end - self._clock()) > 0:
            told(job)
            try:
                query = {"wait": f"{min(_LOOK_S, left_s):.2f}"}
                job = read(self._rest.get(f"/v1/jobs/{quoted(job.job_id)}", query), Job)
            except (ServerUnreachable, Refusal) as error:
                if not _is_passing(error):
                    raise
                self._sleep(_RETRY_S)
        return job


def _is_passing(error: ServerUnreachable | Refusal) -> bool:
    return isinstance(error, ServerUnreachable) or error.problem.code in _PASSING
