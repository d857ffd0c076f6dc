"""A request while it comes in: its head is read here, its body goes where it belongs."""

from copy import copy
from http import HTTPStatus
from typing import Final

from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import Error

from api.http.chunks import ChunkedBody
from api.http.errors import TooLarge
from api.http.guard import Guard
from api.http.heads import Head, HeadReader
from api.http.problems import status_of
from api.http.uploads import UPLOAD_PATH, Receiver, UploadLimits
from kernel.protocol.errors import SpoonError

HEAD_TOO_LARGE: Final = 431
"""What a TooLarge is that concerns the head alone."""


class Refusal(Error):  # type: ignore[misc]  # waitress has no types
    """A refusal of ours, in the shape in which waitress hands its own to the error task."""

    def __init__(self, cause: SpoonError, status: int | None = None) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.code = status or status_of(type(cause))
        self.reason = HTTPStatus(self.code).phrase


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


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """One request. The body of an upload goes to the models' disk while it comes, under its own limit."""

    adj: Adjustments
    error: Error | None
    guard: Guard
    uploads: UploadLimits | None
    _receiving: _Receiving | None = None
    # What waitress looks at although there may never be a head.
    command = request_uri = path = query = fragment = proxy_scheme = proxy_netloc = ""
    first_line = b""
    url_scheme = "http"

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self._head = HeadReader()

    @property
    def has_begun(self) -> bool:
        return self._head.received_bytes > 0

    def received(self, data: bytes) -> int:
        """More bytes. Returns: how many of them belong to this request."""
        if self.completed:
            return 0
        if not self.headers_finished:
            return self._receive_head(data)
        consumed: int = super().received(data)
        for taker in (self._receiving, self.body_rcv):
            failure = getattr(taker, "failure", None)
            if isinstance(failure, SpoonError):
                self.refuse(failure)
        return consumed

    def refuse(self, error: SpoonError, status: int | None = None) -> None:
        """Answer with this and close: nobody knows where the next request begins. The first one counts."""
        if self.error is None:
            self.error = Refusal(error, status)
            self.completed = True
            self.expect_continue = False  # the answer is final

    def _receive_head(self, data: bytes) -> int:
        try:
            consumed, head = self._head.take(data)
        except SpoonError as error:
            self.headers_finished = True
            self.refuse(error, HEAD_TOO_LARGE if isinstance(error, TooLarge) else None)
            return len(data)
        if head is not None:
            self.headers_finished = True
            try:
                self._begin(head)
            except SpoonError as error:
                self.refuse(error)
        return consumed

    def _begin(self, head: Head) -> None:
        """Raises: TooLarge, and what the guard and an upload refuse with: before any of the body comes."""
        self._describe(head)
        has_body = head.is_chunked or bool(head.length)
        if self.uploads is not None and has_body and (head.method, head.path) == ("POST", UPLOAD_PATH):
            self._receive(self.uploads, head)
        if (head.length or 0) >= self.adj.max_request_body_size:
            raise TooLarge(f"the body may have at most {self.adj.max_request_body_size} bytes")
        if has_body:
            buffer = (
                OverflowableBuffer(self.adj.inbuf_overflow) if self._receiving is None else self._receiving
            )
            self.body_rcv = (
                ChunkedBody(buffer) if head.is_chunked else FixedStreamReceiver(head.length, buffer)
            )
        self.completed = not has_body
        self.expect_continue = head.expects_continue and has_body

    def _describe(self, head: Head) -> None:
        self.first_line, self.command, self.version = head.line, head.method, head.version
        self.request_uri, self.path, self.query = head.target, head.path, head.query
        self.headers = {name: value for name, value in head.headers.items() if name != "TRANSFER_ENCODING"}
        self.connection_close = head.is_last
        if head.is_last:
            self.headers["CONNECTION"] = "close"
        self.chunked = head.is_chunked
        self.content_length = head.length or 0

    def _receive(self, uploads: UploadLimits, head: Head) -> None:
        """The guard looks before the body comes, not after: no foreign page may fill the disk."""
        self.adj = copy(self.adj)
        self.adj.max_request_body_size = uploads.max_body_bytes + 1
        self.guard.check_head(head.method, head.headers)
        self._receiving = _Receiving(Receiver(uploads, head.headers.get("CONTENT_TYPE"), head.length))
