"""/v1/jobs"""

from collections.abc import Callable
from typing import Final

import falcon

from api.http.contract.caller import caller_of
from api.http.contract.constraints import WaitQuery
from api.http.contract.engine_errors import awaited, engine_error_of
from api.http.contract.job_input import JobCreateQuery
from api.http.contract.job_types import (
    Job,
    JobChecked,
    JobEdit,
    JobListQuery,
    JobPage,
    Place,
    accepted_job,
    filter_of,
    job_of,
    referring,
)
from api.http.contract.request_parsing import (
    BodyReader,
    QueryReader,
    find_nothing,
    key_in,
    read_key,
    refuse_key,
)
from api.http.contract.responses import encoded, send, send_nothing
from api.http.contract.search_query import check_search
from api.http.framework.body_intake import JOBS_PATH
from api.http.framework.deferral import OUTCOME, DirectResponse, ShortRequest, Then
from api.http.framework.guard import NO_SNIFFING
from api.http.resources.job_command import JobSending, in_http_words
from api.http.resources.ownership import find_seen_job, seen
from api.http.resources.waiting import Waiting
from api.hub import Hub
from api.port import Answer, BusPort, answer_in
from api.session import Outcome
from kernel.protocol.client import CancelJob, DeleteJob, Done, EditJob, JobAccepted, JobValid
from kernel.protocol.enums import ENDED_JOB_STATES, JobState, Role, WaitsFor
from kernel.protocol.errors import IllegalMove, SpoonError
from kernel.protocol.ids import JobId
from kernel.views.engines import failing_engines, find_engine
from kernel.views.jobs import jobs_ahead, list_jobs, seconds_per_job
from kernel.views.names import names_of
from kernel.views.page import Page
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow, JobRow

NO_JOBS: Final[Page[JobRow]] = Page((), None)
_AGAIN: Final = frozenset({JobState.FAILED, JobState.CANCELLED})


class Jobs:
    """Submit, list, show, edit, cancel and delete jobs."""

    def __init__(
        self,
        bus: BusPort,
        reader: Reader,
        hub: Hub,
        waiting: Waiting,
        sending: JobSending,
        now_ms: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._now_ms = now_ms
        self._reader = reader
        self._hub = hub
        self._waiting = waiting
        self._body = sending.body
        self._sending = sending
        self._create_query = QueryReader(JobCreateQuery)
        self._wait_query = QueryReader(WaitQuery)
        self._edit_body = BodyReader(JobEdit, frozenset(), find_nothing)
        self._list_query = QueryReader(JobListQuery, check_search)

    def begin(self, request: ShortRequest, then: Then) -> bool:
        """Have the command of a plain job sent, without waiting (`api.http.framework.deferral.Deferral`)."""
        if (request.method, request.path) != ("POST", JOBS_PATH) or request.query:
            return False
        submission = self._body.read_if_plain(request.headers, request.body)
        sending = self._sending
        if submission is None or sending.commands.need_database(submission.input):
            return False
        if sending.wildcards.concerns(submission.input):  # which reads files
            return False
        try:
            caller = sending.access.caller(request.headers)
            caller.check(Role.USER)
            if caller.has_rate:  # so that `create` alone counts
                return False
            ask = sending.commands.submit(submission, submission.images, caller.key_id, validate_only=False)
            key = key_in(request.headers.get("IDEMPOTENCY_KEY"), caller.key_id)
            self._bus.ask_later(ask, key, then)
        except SpoonError:  # `create` finds the error again, and reports it
            return False
        return True

    def flush(self) -> None:
        """Send the commands that were begun."""
        self._bus.flush()

    def answer(self, outcome: Outcome) -> DirectResponse | None:
        """The response of `create` to a job that was accepted; whatever else came of it is for `create`."""
        if not isinstance(outcome, JobAccepted) or outcome.spec is None:
            return None
        body = encoded(accepted_job(outcome))
        told = (("Location", _place_of(outcome)), NO_SNIFFING)
        about_body = (("Content-Length", str(len(body))), ("Content-Type", falcon.MEDIA_JSON))
        return DirectResponse(falcon.HTTP_202, (*told, *about_body), body)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        """202 as soon as the job is durable; with `wait` 200 once it has ended; `validate_only` 200."""
        query, key = self._create_query.read(req), read_key(req)
        if query.validate_only:
            valid = self._submit(req, JobValid, None, validate_only=True)
            send(resp, 200, JobChecked(valid=True, engine_id=valid.engine_id))
            return
        self._waiting.check_room(query.wait)
        self._send_accepted(req, resp, self._submit(req, JobAccepted, key, validate_only=False), query.wait)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        wanted = seen(self._reader, caller_of(req), filter_of(query, self._now_ms()), query.key)
        page = NO_JOBS
        if wanted is not None:
            page = list_jobs(self._reader, wanted, query.limit, query.after, query.order)
        send(resp, 200, JobPage(items=self._listed(page.items), next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """With `wait`, as soon as it has ended."""
        self._answer(req, resp, job_id, self._wait_query.read(req).wait, 200)

    def edit(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Repeating it changes nothing, so it takes no key."""
        refuse_key(req)
        ask = EditJob(job_id=self._own(req, job_id), priority=self._edit_body.read(req).priority)
        self._bus.ask(ask, Done)
        send(resp, 200, self._shown(self._find(req, job_id)))

    def cancel(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """The job is cancelled at once, though its worker may still finish the step."""
        self._bus.ask(CancelJob(job_id=self._own(req, job_id)), Done, read_key(req))
        send(resp, 200, self._shown(self._find(req, job_id)))

    def retry(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """A new job like one that failed or was cancelled; that one stays as it is."""
        wait_s, key = self._wait_query.read(req).wait, read_key(req)
        row = self._find(req, job_id)
        if row.status not in _AGAIN:
            raise IllegalMove(_why_not_again(row))
        self._waiting.check_room(wait_s)
        origin = self._body.origins.of_job(row)
        accepted = self._sending.send(
            lambda: (self._body.again(origin), key), 0, JobAccepted, caller_of(req).key_id
        )
        self._send_accepted(req, resp, accepted, wait_s)

    def delete(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        self._bus.ask(DeleteJob(job_id=self._own(req, job_id)), Done)
        send_nothing(resp)

    def _submit(
        self, req: falcon.Request, expected: type[Answer], key: str | None, *, validate_only: bool
    ) -> Answer:
        """The Manager's reply to the job in a request."""
        if OUTCOME in req.env:
            return in_http_words(lambda: answer_in(req.env[OUTCOME], expected))
        length = req.content_length or 0
        return self._sending.send(
            lambda: (self._body.read(req), key),
            length,
            expected,
            caller_of(req).key_id,
            validate_only=validate_only,
        )

    def _send_accepted(
        self, req: falcon.Request, resp: falcon.Response, accepted: JobAccepted, wait_s: float | None
    ) -> None:
        if wait_s:
            self._answer(req, resp, accepted.job_id, wait_s, 202)
        else:
            resp.location = _place_of(accepted)
            send(resp, 202, accepted_job(accepted))

    def _answer(
        self, req: falcon.Request, resp: falcon.Response, job_id: str, wait_s: float | None, open_status: int
    ) -> None:
        def look(resp: falcon.Response, is_last: bool) -> bool:
            row = self._find(req, job_id)
            if not (is_last or _is_over(row)):
                return False
            if req.method == "POST":
                resp.location = f"/v1/jobs/{job_id}"
            send(resp, 200 if _is_over(row) else open_status, self._shown(row))
            return True

        self._waiting.answer(req, resp, job_id, wait_s, look)

    def _find(self, req: falcon.Request, job_id: str) -> JobRow:
        return find_seen_job(self._reader, caller_of(req), job_id)

    def _own(self, req: falcon.Request, job_id: str) -> JobId:
        """The id of a job that the caller may change. Raises: JobNotFound; the Manager, if there is none."""
        if caller_of(req).sees_only is not None:
            self._find(req, job_id)
        return JobId(job_id)

    def _listed(self, rows: tuple[JobRow, ...]) -> tuple[Job, ...]:
        """Jobs as responses; those that wait have the errors of their engines, read by one query for all."""
        are_any = any(row.status is JobState.WAITING for row in rows)
        failing = (
            {row.engine_id: engine_error_of(row) for row in failing_engines(self._reader)} if are_any else {}
        )
        names = names_of(self._reader, map(referring, rows))
        return tuple(
            job_of(
                row,
                names,
                self._hub.job_progress(row.job_id),
                trouble=failing.get(row.engine_id) if row.status is JobState.WAITING else None,
            )
            for row in rows
        )

    def _shown(self, row: JobRow) -> Job:
        progress = self._hub.job_progress(row.job_id)
        names = names_of(self._reader, [referring(row)])
        # No engine: it was deleted with the job since that was read.
        engine = find_engine(self._reader, row.engine_id) if row.status is JobState.WAITING else None
        if engine is None:
            return job_of(row, names, progress)
        place = self._place(row, engine)
        return job_of(row, names, progress, place, engine_error_of(engine))

    def _place(self, row: JobRow, engine: EngineRow) -> Place:
        """Its place, and when it is its turn if its engine goes on as before; of a job that is made, half is
        left on average."""
        ahead, reason = jobs_ahead(self._reader, row), awaited(engine)
        pace_s = seconds_per_job(self._reader, row.engine_id) if reason is WaitsFor.TURN else None
        eta_s = None if pace_s is None else round(pace_s * (ahead + engine.jobs_processing / 2), 1)
        return Place(ahead, reason, eta_s)


def _place_of(accepted: JobAccepted) -> str:
    return f"{JOBS_PATH}/{accepted.job_id}"


def _why_not_again(row: JobRow) -> str:
    if row.status is JobState.FINISHED:
        return 'the job is finished: submit one with {"like": IMAGE_ID} to make an image of it again'
    return f"the job is still {row.status.value}: cancel it first, or submit another one"


def _is_over(row: JobRow) -> bool:
    return row.status in ENDED_JOB_STATES
