"""What waitress does with a connection: its own errors become problem documents, uploads go to the disk."""

import secrets
from copy import copy
from http import HTTPStatus

import msgspec
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask
from waitress.utilities import Error

from api.http.errors import Malformed, TooLarge
from api.http.guard import Guard
from api.http.problems import CONTENT_TYPE, problem_of, status_of
from api.http.uploads import UPLOAD_PATH, Receiver, UploadLimits
from kernel.protocol.errors import SpoonError


def channel_class(guard: Guard, uploads: UploadLimits | None) -> type[HTTPChannel]:
    """The class of connections. Without `uploads` every body is held as waitress holds it."""
    parser = type("Parser", (_Parser,), {"guard": guard, "uploads": uploads})
    return type("Channel", (_Channel,), {"parser_class": parser})


class _Refusal(Error):  # type: ignore[misc]  # waitress has no types
    """A refusal of ours, in the shape in which waitress hands its own to the error task."""

    def __init__(self, cause: SpoonError) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.code = status_of(type(cause))
        self.reason = HTTPStatus(self.code).phrase


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """What is refused before the application sees it: as a problem document."""

    def execute(self) -> None:
        error = self.request.error
        cause = error.cause if isinstance(error, _Refusal) else _translate(error.code, str(error.body))
        problem = problem_of(cause, secrets.token_hex(8))
        body = msgspec.json.encode(msgspec.structs.replace(problem, status=error.code))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", CONTENT_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Receiving:
    """What waitress puts a body into: the receiver, which keeps none of it in memory."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.failure: SpoonError | None = None

    def append(self, data: bytes) -> None:
        if self.failure is None:
            try:
                self._receiver.take(data)
            except SpoonError as error:
                self.failure = error

    def __len__(self) -> int:
        return self._receiver.received_bytes

    def getfile(self) -> Receiver:
        return self._receiver

    def close(self) -> None:
        self._receiver.close()


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Sends the body of an upload to the models' disk while it comes, under a limit of its own."""

    adj: Adjustments
    error: Error | None
    guard: Guard
    uploads: UploadLimits | None
    _receiving: _Receiving | None = None

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        is_upload = (self.command, self.path) == ("POST", UPLOAD_PATH)
        if self.uploads is not None and is_upload and self.body_rcv is not None:
            try:
                self._receive(self.uploads)
            except SpoonError as error:
                self._refuse(error)

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self._receiving is not None and self._receiving.failure is not None:
            self._refuse(self._receiving.failure)
        return consumed

    def _receive(self, uploads: UploadLimits) -> None:
        """The guard looks before the body comes, not after: no foreign page may fill the disk."""
        self.adj = copy(self.adj)
        self.adj.max_request_body_size = uploads.max_body_bytes + 1
        self.guard.check("POST", self.headers.get("HOST", ""), self.headers.get("ORIGIN"))
        length = None if self.chunked else self.content_length
        self._receiving = _Receiving(Receiver(uploads, self.headers.get("CONTENT_TYPE"), length))
        self.body_rcv.buf = self._receiving

    def _refuse(self, error: SpoonError) -> None:
        if self.error is None:
            self.error = _Refusal(error)
            self.completed = True


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    error_task_class = _ProblemTask

    def handle_close(self) -> None:
        if self.request is not None:
            self.request.close()  # a client that left in the middle of an upload leaves nothing behind
        super().handle_close()


def _translate(status: int, text: str) -> SpoonError:
    if status in (413, 431):
        return TooLarge(text)
    return Malformed(text) if status < 500 else SpoonError("the server made a mistake; its log tells more")
