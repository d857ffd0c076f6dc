"""POST /sdapi/v1/txt2img and /sdapi/v1/img2img: a job like any other, answered when it has ended."""

from collections.abc import Callable

import falcon

from api.http.compat.a1111.generation_answers import GenerationAnswers, wanted
from api.http.compat.a1111.generation_requests import Asked, GenerationRequests, Request
from api.http.compat.a1111.requests import ImageToImage, TextToImage
from api.http.compat.a1111.tasks import Task, Tasks
from api.http.compat.a1111.translation import name_of
from api.http.compat.job_end import JobEnd, error_of
from api.http.contract.caller import caller_of
from api.http.resources.job_command import JobSending, renamed
from api.http.resources.job_reader import JobSubmission
from kernel.protocol.client import JobAccepted
from kernel.protocol.enums import JobState
from kernel.protocol.errors import SpoonError
from kernel.protocol.ids import JobId
from kernel.views.rows import JobRow


class Generation:
    """Has jobs made of requests, and sends their images."""

    def __init__(
        self,
        texts: GenerationRequests[TextToImage],
        images: GenerationRequests[ImageToImage],
        sending: JobSending,
        end: JobEnd,
        answers: GenerationAnswers,
        tasks: Tasks,
    ) -> None:
        self._texts = texts
        self._images = images
        self._sending = sending
        self._end = end
        self._answers = answers
        self._tasks = tasks

    def from_text(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/txt2img"""
        self._run(req, resp, self._texts.read, "txt2img")

    def from_image(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/img2img"""
        self._run(req, resp, self._images.read, "img2img")

    def _run(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        read: Callable[[falcon.Request], Request[Asked]],
        name: str,
    ) -> None:
        self._end.check_room()
        request, job_id = self._submit(req, read)
        asked = request.asked
        task = Task(job_id, request.caller.name, asked.force_task_id or "", name)
        self._tasks.add(task)
        want = wanted(asked, request.warnings, request.units.maps)

        def answer(resp: falcon.Response, row: JobRow) -> None:
            error = None if row.status is JobState.CANCELLED and task.is_interrupted else error_of(row)
            if error is not None:
                raise error
            self._answers.send(resp, row, want)

        self._end.answer(req, resp, job_id, answer)

    def _submit(
        self, req: falcon.Request, read: Callable[[falcon.Request], Request[Asked]]
    ) -> tuple[Request[Asked], JobId]:
        """Submit the job of a request. Raises: as `read`, with A1111's names of fields."""
        requests: list[Request[Asked]] = []

        def read_it() -> tuple[JobSubmission, None]:
            requests.append(read(req))
            return requests[0].submission, None

        try:
            accepted = self._sending.send(
                read_it, req.content_length or 0, JobAccepted, caller_of(req).key_id
            )
        except SpoonError as error:
            raise renamed(error, name_of) from error
        return requests[0], accepted.job_id
