"""Streams of images for OpenAI's clients: previews as partial images, then each image once it is there."""

from collections.abc import Generator, Iterator
from typing import Final

import falcon
import msgspec

from api.http.compat.image_files import ImageFiles
from api.http.compat.job_end import error_of
from api.http.compat.openai.answers import OpenAiImageEvent, OpenAiUsage, shown, size_of
from api.http.contract.caller import caller_of
from api.http.contract.openai_errors import OpenAiRefusal, openai_error, openai_status
from api.http.contract.problems import status_of
from api.http.framework import sse
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.route import EventStream
from api.http.framework.thread_pools import Pool
from api.hub import Closing, Hub, Subscription
from api.session import Preview
from kernel.protocol.enums import JobState
from kernel.protocol.errors import JobNotFound, ShuttingDown, SpoonError
from kernel.protocol.ids import JobId
from kernel.views.images import find_image
from kernel.views.jobs import find_job
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow, JobRow

PREVIEW_FORMAT: Final = "jpeg"
GENERATION_EVENTS: Final = "image_generation"
EDIT_EVENTS: Final = "image_edit"
OPENAI_EVENTS: Final = EventStream(
    "OpenAiImageEventData",
    {
        f"{prefix}.{what}": OpenAiImageEvent
        for prefix in (GENERATION_EVENTS, EDIT_EVENTS)
        for what in ("partial_image", "completed")
    },
)


class ImageStreams:
    """Opens streams of jobs."""

    def __init__(self, reader: Reader, hub: Hub, slots: ConcurrencyLimit, files: ImageFiles) -> None:
        self._reader = reader
        self._hub = hub
        self._slots = slots
        self._files = files

    def check_room(self, req: falcon.Request) -> None:
        """Check, before a job is submitted, that its stream may be opened. Raises: TooManyStreams."""
        sse.take_place(self._slots, req)()

    def open(
        self, req: falcon.Request, row: JobRow, prefix: str, partial_images: int, warnings: tuple[str, ...]
    ) -> sse.Stream:
        """The stream of a job, which must be dropped. `prefix` begins the types of its events.

        Raises: TooManyStreams.
        """
        ids, sees_previews = (row.job_id, *row.image_ids), partial_images > 0
        leave, caller = sse.take_place(self._slots, req), caller_of(req)
        return sse.Stream(
            lambda ear: self._frames(row.job_id, prefix, partial_images, warnings, ear),
            lambda ring: self._hub.subscribe(
                ids, ring, sees_progress=False, sees_previews=sees_previews, subscriber=caller
            ),
            leave,
            left_s=caller.left_s,
            pool=Pool.ASK,  # it claims downloads
        )

    def _frames(
        self, job_id: JobId, prefix: str, partial_images: int, warnings: tuple[str, ...], ear: Subscription
    ) -> Generator[bytes, None, None]:
        sent, chosen = 0, Chosen(partial_images)
        yield b": job %s\n\n" % job_id.encode()  # the head of the response leaves with it
        try:
            while True:
                row = self._find(job_id)
                for image in self._new(row, sent):
                    yield from self._completed(row, image, prefix, warnings)
                    sent += 1
                if (error := error_of(row)) is not None:
                    raise error
                if row.status is JobState.FINISHED:
                    return
                yield from self._rest(row, prefix, chosen, ear)
        except SpoonError as error:  # the head is sent: the stream itself has to tell
            yield _error_frame(error)

    def _find(self, job_id: JobId) -> JobRow:
        row = find_job(self._reader, job_id)
        if row is None:
            raise JobNotFound(f"the job {job_id} has been deleted")
        return row

    def _new(self, row: JobRow, sent: int) -> Iterator[ImageRow]:
        """The images that are there and were not sent, up to the first that is missing."""
        for image_id in row.image_ids[sent:]:
            image = find_image(self._reader, image_id)
            if image is None:
                return
            yield image

    def _completed(
        self, row: JobRow, image: ImageRow, prefix: str, warnings: tuple[str, ...]
    ) -> Iterator[bytes]:
        file, said, is_sent = self._files.read(image.image_id), shown(row), False
        event = OpenAiImageEvent(
            type=f"{prefix}.completed",
            b64_json=file.data,
            created_at=image.created_at_ms // 1_000,
            size=size_of(image),
            background=said.background,
            output_format=said.output_format,
            index=image.position,
            usage=OpenAiUsage(),
            image_id=image.image_id,
            seed=image.seed,
            warnings=(*warnings, *row.warnings),
        )
        try:
            yield sse.frame(event.type, event)
            yield sse.TAKEN
            is_sent = True
        finally:
            file.finish(is_sent)

    def _rest(
        self, row: JobRow, prefix: str, chosen: "Chosen", ear: Subscription
    ) -> Generator[bytes, None, None]:
        """Partial images, until there may be a change."""
        while True:
            notice = ear.next(0)
            if notice is None:
                yield sse.PAUSE
                notice = ear.next(0)
            match notice:
                case Preview() as preview:
                    index = chosen.index_of(preview.index, preview.step, row.spec.steps)
                    if index is not None:
                        yield _partial_frame(row, preview, index, prefix)
                case Closing():
                    raise ShuttingDown("the server is stopping: send the same request again")
                case _:
                    return


class Chosen:
    """Which previews are sent: so many of each image, spread over its steps."""

    def __init__(self, partial_images: int) -> None:
        self._partial_images = partial_images
        self._sent: dict[int, int] = {}

    def index_of(self, image: int, step: int, steps: int) -> int | None:
        """The number of this partial image of an image; None, if it is not to be sent."""
        sent = self._sent.get(image, 0)
        if sent >= self._partial_images or step * (self._partial_images + 1) < steps * (sent + 1):
            return None
        self._sent[image] = sent + 1
        return sent


def _partial_frame(row: JobRow, preview: Preview, index: int, prefix: str) -> bytes:
    said = shown(row)
    event = OpenAiImageEvent(
        type=f"{prefix}.partial_image",
        b64_json=preview.data,
        created_at=(row.started_at_ms or row.created_at_ms) // 1_000,
        size=said.size,
        background=said.background,
        output_format=PREVIEW_FORMAT,
        index=preview.index,
        partial_image_index=index,
    )
    return sse.frame(event.type, event)


def _error_frame(error: SpoonError) -> bytes:
    """An event that clients raise. Without a name: some look at the data of unnamed events only."""
    status = openai_status(status_of(type(error)))
    refusal = OpenAiRefusal(error=openai_error(status, error.code, error.detail, error.fields))
    return b"data: %s\n\n" % msgspec.json.encode(refusal)
