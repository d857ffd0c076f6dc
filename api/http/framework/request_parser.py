"""A request while it arrives: its head is parsed here, its body goes to the intake's buffer."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import Error

from api.http.contract.errors import TooLarge
from api.http.contract.problems import status_of
from api.http.framework.bodies import Body
from api.http.framework.body_intake import BodyIntake
from api.http.framework.chunked_body import ChunkedBody
from api.http.framework.request_head import Head, HeadReader
from api.http.framework.upload_stream import UploadStream
from api.http.proxies.sender import PLAIN, Proxies, Sender
from kernel.protocol.errors import SpoonError

HEAD_TOO_LARGE: Final = 431
"""The status of a TooLarge that concerns the head alone."""


class Refusal(Error):  # type: ignore[misc]  # waitress has no types
    """One of our errors, in the form in which waitress passes its own to the error task."""

    def __init__(self, cause: SpoonError, status: int | None = None) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.code = status or status_of(type(cause))
        self.reason = HTTPStatus(self.code).phrase


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """One request. Its body goes to the intake's buffer, under a limit of its own."""

    completed: bool
    error: Error | None
    body_limit = 0
    _buffer: Body | UploadStream | None = None
    # Attributes that waitress reads even if there is never a head.
    command = request_uri = path = query = fragment = proxy_scheme = proxy_netloc = ""
    first_line = b""
    url_scheme = PLAIN

    def __init__(
        self, adj: Adjustments, intake: BodyIntake, proxies: Proxies, peer: str, wake: Callable[[], None]
    ) -> None:
        """`peer`: the address at the connection's other end. `wake` has the connection checked again when its
        body has failed or can take more."""
        super().__init__(adj)
        self.sender = Sender(peer)
        """Known when the head is."""
        self._proxies = proxies
        self._intake = intake
        self._wake = wake
        self._head = HeadReader()

    @property
    def has_begun(self) -> bool:
        return self._head.received_bytes > 0

    def received(self, data: bytes) -> int:
        """Take more bytes. Returns: how many of them belong to this request."""
        if self.completed:
            return 0
        if not self.headers_finished:
            return self._receive_head(data)
        consumed: int = self.body_rcv.received(data)
        self.body_bytes_received += consumed
        if self.body_bytes_received > self.body_limit:  # of unknown length: else it was checked before
            self.refuse(TooLarge(f"the body must have at most {self.body_limit} bytes"))
        elif (failure := self.failure) is not None:
            self.refuse(failure)
        elif self.body_rcv.completed:
            self.completed = True
            if self.chunked:  # for the application it is a body like any other
                self.headers["CONTENT_LENGTH"] = str(len(self.body_rcv))
        return consumed

    @property
    def failure(self) -> SpoonError | None:
        """The problem with the body, as soon as it is known, which may be after it has arrived."""
        found = getattr(self.body_rcv, "failure", None) or getattr(self._buffer, "failure", None)
        return found if isinstance(found, SpoonError) else None

    def settle(self) -> None:
        """Wait, in a request thread, until the body is stored; refuse the request if it cannot be."""
        if isinstance(self._buffer, Body):
            self._buffer.settle()
            if self._buffer.failure is not None:
                self.refuse(self._buffer.failure)

    @property
    def is_full(self) -> bool:
        """True if the body should not be read for a while."""
        return self._buffer is not None and self._buffer.is_full

    def refuse(self, error: SpoonError, status: int | None = None) -> None:
        """Respond with an error and close, because the start of the next request is unknown. The first error
        counts."""
        if self.error is None:
            self.error = Refusal(error, status)
            self.completed = True
            self.expect_continue = False  # the response is final

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
        """Raises: as `Proxies.seen`; the intake's refusals, before any of the body arrives, or is asked
        for."""
        self._describe(head)
        seen, self.sender = self._proxies.seen(head, self.sender.address)
        if seen is not head:
            self._describe(seen)
        has_body = head.is_chunked or bool(head.length)
        if has_body:
            buffer, self.body_limit = self._intake.buffer_for(seen, self._wake)
            self._buffer = buffer
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
