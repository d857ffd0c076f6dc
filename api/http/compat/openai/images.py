"""/v1/images/generations, edits and variations: OpenAI's requests as jobs like any other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import falcon

from api.http.compat.image_files import ImageFile, ImageFiles, SentBody
from api.http.compat.job_end import JobEnd, error_of, tell_in_header
from api.http.compat.openai.answers import OpenAiImage, images_of, size_of
from api.http.compat.openai.image_requests import ImageRequest, ImageRequests
from api.http.compat.openai.image_stream import EDIT_EVENTS, GENERATION_EVENTS, ImageStreams
from api.http.compat.openai.request_fields import (
    OpenAiEdit,
    OpenAiFields,
    OpenAiGeneration,
    OpenAiVariation,
    ResponseFormat,
)
from api.http.compat.openai.retries import Retries
from api.http.compat.openai.signed_links import SignedLinks
from api.http.contract.caller import caller_of
from api.http.contract.request_parsing import read_key
from api.http.contract.responses import encoded
from api.http.framework import sse
from api.http.resources.job_command import JobSending
from api.http.resources.job_reader import JobSubmission
from conf.settings import Settings
from kernel.protocol.client import JobAccepted
from kernel.protocol.errors import ImageGone, SpoonError
from kernel.protocol.ids import ImageId, JobId
from kernel.views.images import find_image
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow, JobRow

JOB_HEADER: Final = "X-Spoon-Job"
NO_RETRY: Final = ("X-Should-Retry", "false")
"""OpenAI's clients send a request again after every other 5xx."""
TIMES: Final = 3
"""A response takes this many times the size of its image files in memory: as they are, and in base64."""


@dataclass(frozen=True, slots=True)
class Answering:
    """How jobs are answered."""

    reader: Reader
    end: JobEnd
    streams: ImageStreams
    files: ImageFiles
    links: SignedLinks
    now_ms: Callable[[], int]


class OpenAiImageRoutes:
    """Makes images, and answers when they are there."""

    def __init__(self, settings: Settings, reader: Reader, sending: JobSending, answering: Answering) -> None:
        self._sending = sending
        self._answering = answering
        self._retries = Retries(reader, answering.now_ms)
        more = (reader, sending.body, settings.server, settings.engines.default)
        self._generations = ImageRequests(OpenAiGeneration, *more)
        self._edits = ImageRequests(OpenAiEdit, *more)
        self._variations = ImageRequests(OpenAiVariation, *more)

    def generate(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the images once they are there; with `stream` at once, and the images as events."""
        self._run(req, resp, self._generations.read, GENERATION_EVENTS)

    def edit(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._run(req, resp, self._edits.read, EDIT_EVENTS)

    def vary(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._run(req, resp, self._variations.read, EDIT_EVENTS)

    def _run(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        read: Callable[[falcon.Request], ImageRequest],
        events: str,
    ) -> None:
        theirs, warnings, job_id = self._submit(req, read)
        resp.set_header(JOB_HEADER, job_id)
        if theirs.stream:
            row = self._answering.end.find(job_id)
            resp.stream = self._answering.streams.open(req, row, events, theirs.partial_images or 0, warnings)
            tell_in_header(resp, warnings)
            sse.describe(resp)
            return

        response_format = theirs.response_format  # alone: the images of the request are not kept meanwhile

        def answer(resp: falcon.Response, row: JobRow) -> None:
            resp.set_header(JOB_HEADER, job_id)
            self._answer(req, resp, row, response_format, warnings)

        self._answering.end.answer(req, resp, job_id, answer)

    def _submit(
        self, req: falcon.Request, read: Callable[[falcon.Request], ImageRequest]
    ) -> tuple[OpenAiFields, tuple[str, ...], JobId]:
        """Submit the job of a request, or find the one that it has submitted before."""
        key, requests = read_key(req), list[ImageRequest]()

        def read_it() -> tuple[JobSubmission, str]:
            requests.append(read(req))
            if requests[0].translated.theirs.stream:
                self._answering.streams.check_room(req)
            else:
                self._answering.end.check_room()
            return requests[0].submission, key or self._retries.key_of(req, requests[0].digest)

        try:
            length, key_id = req.content_length or 0, caller_of(req).key_id
            job_id = self._sending.send(read_it, length, JobAccepted, key_id).job_id
        except SpoonError as error:
            raise (requests[0].in_their_words(error) if requests else error) from error
        made = requests[0].translated
        return made.theirs, tuple(made.warnings), job_id

    def _answer(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        row: JobRow,
        response_format: str,
        warnings: tuple[str, ...],
    ) -> None:
        """Send the images of a job that has ended. Raises: the job's error."""
        error = error_of(row)
        if error is not None:
            resp.set_header(*NO_RETRY)
            raise error
        images = [self._find(image_id) for image_id in row.image_ids]
        size = size_of(images[0])
        if response_format == ResponseFormat.URL:
            found = [self._linked(req, image) for image in images]
            resp.data = encoded(images_of(row, found, size, warnings))
            return
        with self._sending.body.memory.holding(TIMES * sum(image.size_bytes for image in images)):
            files = self._answering.files.read_all(image.image_id for image in images)
            found = [_embedded(image, file) for image, file in zip(images, files, strict=True)]
            body = encoded(images_of(row, found, size, warnings))
        resp.set_stream(SentBody(body, files), len(body))

    def _find(self, image_id: ImageId) -> ImageRow:
        row = find_image(self._answering.reader, image_id)
        if row is None:
            raise ImageGone(f"the image {image_id} has been deleted")
        return row

    def _linked(self, req: falcon.Request, image: ImageRow) -> OpenAiImage:
        link = self._answering.links.link_to(image.image_id, self._answering.now_ms())
        return OpenAiImage(url=f"{req.prefix}{link}", image_id=image.image_id, seed=image.seed)


def _embedded(image: ImageRow, file: ImageFile) -> OpenAiImage:
    return OpenAiImage(b64_json=file.data, image_id=image.image_id, seed=image.seed)
