"""Tasks that answer one request: waitress' own, with a cheaper environment and response head."""

import secrets
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import build_http_date

from api.audit import refusals
from api.http.contract.errors import Malformed, TooLarge
from api.http.contract.problems import document_of, headers_of
from api.http.framework.deferral import OUTCOME, RESUMED, ROUTE, Environment, Streaming
from api.http.framework.request_parser import Parser, Refusal
from api.session import Outcome
from kernel.protocol.errors import SpoonError

if TYPE_CHECKING:
    from api.http.framework.channels import Channel

FILE_PIECE_BYTES: Final = 256 << 10


class FileBuffer(ReadOnlyFileBasedBuffer):  # type: ignore[misc]  # waitress has no types
    """A file that is sent piece by piece. waitress reads as much as the socket's buffer could ever hold, for
    each window that a slow client opens: megabytes."""

    def get(self, numbytes: int = -1, skip: bool = False) -> bytes:
        piece: bytes = super().get(
            min(numbytes, FILE_PIECE_BYTES) if numbytes >= 0 else FILE_PIECE_BYTES, skip
        )
        return piece


_OF_EVERY_REQUEST: Final[Mapping[str, object]] = MappingProxyType(
    {
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileBuffer,
        "wsgi.input_terminated": True,
    }
)
_WITHOUT_PREFIX: Final = frozenset({"CONTENT_LENGTH", "CONTENT_TYPE"})
_OF_THE_SERVER: Final = frozenset({"connection", "date", "server", "transfer-encoding"})
"""If a response has one of these headers, waitress builds the head."""


class Served(msgspec.Struct, frozen=True):
    """A request that was responded to."""

    method: str
    route: str | None
    """The template of its path; None: no route serves it."""
    status: int
    kind: str = "plain"
    """`wait`: it was parked meanwhile; `stream`: its response goes on."""
    seconds: float = 0.0
    """From the whole request until the response was handed to the socket."""


class ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """A problem document for a request that is refused before the application sees it."""

    def execute(self) -> None:
        error = self.request.error
        cause = error.cause if isinstance(error, Refusal) else _translate(error.code, str(error.body))
        document = document_of(cause, secrets.token_hex(8), self.request.path, error.code)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", document.content_type))
        self.response_headers += headers_of(error.code, cause, self.request.headers)
        address, method = self.request.sender.address, self.request.command or ""
        refusals.note(error.code, cause.code, method, self.request.path, address, None)
        self.set_close_on_finish()
        self.channel.is_refused = True
        self.content_length = len(document.body)
        self.write(document.body)
        self.channel.served(Served(self.request.command or "", None, error.code))


class AnswerTask(WSGITask):  # type: ignore[misc]  # waitress has no types
    """A response whose head leaves together with the first bytes of its body.

    Two packets would cost two system calls here and two wake-ups at the client.
    """

    channel: "Channel"
    request: Parser
    response_headers: list[tuple[str, str]]
    content_length: int | None
    close_on_finish: bool
    complete: bool
    wrote_header: bool
    has_body: bool
    status: str
    version: str
    start_time: float

    _outcome: Outcome | None = None
    _made: Environment | None = None

    def execute(self) -> None:
        self._outcome = self.channel.take_outcome()
        answer = None if self._outcome is None else self.channel.server.deferral.answer(self._outcome)
        if answer is None:
            self._execute()
            return
        self.complete = True  # for waitress: there is a status, and there are headers
        self.status, self.response_headers = answer.status, list(answer.headers)
        self.content_length = len(answer.body)
        self.write(answer.body)
        self._note(self.request.path.rstrip("/"))

    def _execute(self) -> None:
        """Call the application. The task of a stream stays with the connection."""
        try:
            super().execute()
        except Streaming as streaming:
            self.channel.stream(self, streaming.stream)
            self._note(self._route(), "stream")
            raise
        self._note(self._route(), "wait" if RESUMED in self.get_environment() else "plain")

    def _route(self) -> str | None:
        """The template of the route that has served the request; None, if none has."""
        route = self.get_environment().get(ROUTE)
        return route if isinstance(route, str) else None

    def _note(self, route: str | None, kind: str = "plain") -> None:
        self.channel.served(Served(self.request.command.upper(), route, int(self.status[:3]), kind))

    def get_environment(self) -> Environment:
        """The environment of the request."""
        if self._made is None:
            made = self.channel.take_begun() or self._environment()
            self._made = made if self._outcome is None else {**made, OUTCOME: self._outcome}
        return self._made

    def _environment(self) -> Environment:
        request, channel = self.request, self.channel
        made: Environment = {
            **_OF_EVERY_REQUEST,
            "REMOTE_ADDR": request.sender.address,
            "wsgi.url_scheme": request.sender.scheme,
            "REMOTE_PORT": str(channel.addr[1]),
            "REQUEST_METHOD": request.command.upper(),
            "REQUEST_URI": request.request_uri,
            "PATH_INFO": f"/{request.path.lstrip('/')}" if request.path.startswith("/") else request.path,
            "QUERY_STRING": request.query,
            "SERVER_NAME": channel.server.server_name,
            "SERVER_PORT": str(channel.server.effective_port),
            "SERVER_PROTOCOL": f"HTTP/{self.version}",
            "wsgi.input": request.get_body_stream(),
        }
        for name, value in request.headers.items():
            made[name if name in _WITHOUT_PREFIX else f"HTTP_{name}"] = value
        return made

    def build_response_header(self) -> bytes:
        """The head of the response."""
        names = {name.lower() for name, _ in self.response_headers}
        is_plain = self.version == "1.1" and self.has_body and "content-length" in names
        if not is_plain or self.close_on_finish or names & _OF_THE_SERVER or self.request.connection_close:
            built: bytes = super().build_response_header()
            return built
        lines = [f"HTTP/1.1 {self.status}"]
        lines += [f"{_written(name)}: {value}" for name, value in self.response_headers]
        lines.append(f"Date: {_date(int(self.start_time))}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def write(self, data: bytes) -> None:
        if self.wrote_header:
            super().write(data)
        else:
            with self.channel.together():
                super().write(data)


@lru_cache(maxsize=256)
def _written(name: str) -> str:
    """A header's name as it is usually written."""
    return "-".join(part.capitalize() for part in name.split("-"))


@lru_cache(maxsize=2)
def _date(at_s: int) -> str:
    written: str = build_http_date(at_s)
    return written


def _translate(status: int, text: str) -> SpoonError:
    if status in (413, 431):
        return TooLarge(text)
    return Malformed(text) if status < 500 else SpoonError("internal server error; see the server log")
