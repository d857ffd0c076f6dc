"""Requests of other tools: answered when their job has ended, and told what they have asked for in vain.

They hold no thread until then, but are parked like those with `?wait=` (adr/0051). A client that leaves does
not end its job: it may come back for it, and the job is one like any other.
"""

from collections.abc import Callable, Iterable
from typing import Final

import falcon

from api.http.contract.errors import JobCancelled, JobRunning
from api.http.framework.thread_pools import Pool
from api.http.resources.waiting import Waiting
from kernel.protocol.enums import ENDED_JOB_STATES, JobState
from kernel.protocol.errors import JobNotFound, SpoonError
from kernel.protocol.ids import JobId
from kernel.protocol.refusals import error_of_code
from kernel.views.jobs import find_job
from kernel.views.reader import Reader
from kernel.views.rows import JobRow

PATIENCE_S: Final = 570.0
"""Clients give up after ten minutes; before that they are told that the job goes on."""
RETRY_AFTER_S: Final = 1.0
WARNINGS: Final = "X-Spoon-Warnings"
MAX_WARNINGS: Final = 4_000
"""Characters of that header: proxies refuse heads of more than 8 KiB."""

Answer = Callable[[falcon.Response, JobRow], None]


class JobEnd:
    """Answers with what has become of a job."""

    def __init__(self, reader: Reader, waiting: Waiting, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._reader = reader
        self._waiting = waiting

    def check_room(self) -> None:
        """Check, before a job is submitted, that its request may wait. Raises: TooManyWaits."""
        self._waiting.check_room(self._patience_s)

    def answer(self, req: falcon.Request, resp: falcon.Response, job_id: JobId, answer: Answer) -> None:
        """Have a job answered that has ended.

        Raises: TooManyWaits; JobRunning, after the time of clients; JobNotFound; as `answer`.
        """

        def look(resp: falcon.Response, is_last: bool) -> bool:
            row = self.find(job_id)
            if row.status not in ENDED_JOB_STATES:
                if is_last:
                    raise still_running(row)
                return False
            answer(resp, row)
            return True

        pool = Pool.ASK  # it claims downloads
        self._waiting.answer(req, resp, job_id, self._patience_s, look, pool=pool)

    def find(self, job_id: JobId) -> JobRow:
        """The job. Raises: JobNotFound, if it has been deleted."""
        row = find_job(self._reader, job_id)
        if row is None:
            raise JobNotFound(f"the job {job_id} has been deleted")
        return row


def error_of(row: JobRow) -> SpoonError | None:
    """Why an ended job has no images; None, if it is finished."""
    match row.status:
        case JobState.FAILED:
            return error_of_code(row.error_code or SpoonError.code, row.error or "the job failed")
        case JobState.CANCELLED:
            return JobCancelled(f"the job {row.job_id} was cancelled")
        case _:
            return None


def still_running(row: JobRow) -> JobRunning:
    """What a client is told that has waited for long enough."""
    return JobRunning(
        f"the job {row.job_id} is still {row.status}: send the same request again to wait for it, "
        f"or look at /v1/jobs/{row.job_id}",
        retry_after_s=RETRY_AFTER_S,
    )


def tell_in_header(resp: falcon.Response, warnings: Iterable[str]) -> None:
    """Set the header, if there is something to tell: the warnings, separated by semicolons.

    A header is a line of ASCII, so that other characters are written as escapes, and control characters too.
    """
    text = "; ".join(warnings)
    if text:
        resp.set_header(WARNINGS, ascii(text)[1:-1].replace("\\'", "'")[:MAX_WARNINGS])
