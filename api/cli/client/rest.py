"""A client of the REST API: sends requests, and turns problem documents into errors."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from api.cli.exit_codes import Problem, Refusal, ServerUnreachable
from kernel.protocol.errors import SpoonError
from kernel.protocol.type_info import analyzed

Read = TypeVar("Read")
Query = Mapping[str, str | int | bool | None]

TIMEOUT_S: Final = 30.0
_SILENCE_S: Final = 60.0
"""An event stream that is silent for this long is considered dead; the server sends keep-alives."""
_TAKING_S: Final = 600.0
"""The server replies to an upload only when the file is durable."""
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Rest:
    """A client of one server. Paths begin with /v1; every unsuccessful response is raised as a Refusal."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, key: str | None = None) -> None:
        """`key`: the API key, for servers that have some.

        Raises: ServerUnreachable, if `url` is not a valid URL.
        """
        if "://" not in url:
            raise ServerUnreachable(f"{url} is not a URL; use http://{url}")
        self.url = url.rstrip("/")
        try:
            host = httpx.URL(self.url).host
        except httpx.InvalidURL as error:
            raise ServerUnreachable(f"{url} is not a valid URL: {error}") from error
        # A proxy from the environment cannot reach this machine's loopback.
        is_far = host not in _LOOPBACK
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=is_far, headers=headers)

    def __enter__(self) -> "Rest":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, query: Query | None = None) -> bytes:
        """The body. Raises: Refusal, ServerUnreachable."""
        return self._send("GET", path, query)

    def get_whatever_status(self, path: str) -> bytes:
        """The body, also of an unsuccessful response. Raises: ServerUnreachable."""
        with self._reaching():
            return self._http.get(path).content

    def post(
        self,
        path: str,
        body: Mapping[str, object] | msgspec.Struct | None = None,
        query: Query | None = None,
        key: str | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> bytes:
        """The body of the response; `key` is the Idempotency-Key. With files the body is sent as a form.

        Raises: Refusal, ServerUnreachable; OSError, if a file cannot be read.
        """
        headers = {"Idempotency-Key": key} if key else {}
        if not files or body is None:
            return self._send("POST", path, query, body, headers)
        with ExitStack() as opened, self._reaching():
            parts = {name: (file.name, opened.enter_context(file.open("rb"))) for name, file in files.items()}
            return _content(
                self._http.post(path, params=_params(query), data=_texts(body), files=parts, headers=headers)
            )

    def post_file(self, path: str, file: Path) -> bytes:
        """The response to a file. Raises: Refusal, ServerUnreachable; OSError, if it cannot be read."""
        headers = {"Content-Type": "application/octet-stream"}
        with self._reaching():
            return _content(self._http.post(path, content=file.read_bytes(), headers=headers))

    def send_form(self, path: str, headers: Mapping[str, str], pieces: Iterator[bytes]) -> bytes:
        """The response to a form that is streamed. Raises: Refusal, ServerUnreachable."""
        timeout = httpx.Timeout(TIMEOUT_S, read=_TAKING_S)
        with self._reaching():
            answer = self._http.post(path, content=pieces, headers=dict(headers), timeout=timeout)
        if not answer.is_success:
            raise Refusal(_problem(answer))
        return answer.content

    def patch(self, path: str, query: Query | None = None, body: Mapping[str, object] | None = None) -> bytes:
        """The body of the response. Raises: Refusal, ServerUnreachable."""
        return self._send("PATCH", path, query, body)

    def put(self, path: str, body: Mapping[str, object], query: Query | None = None) -> bytes:
        """The body of the response. Raises: Refusal, ServerUnreachable."""
        return self._send("PUT", path, query, body)

    def delete(self, path: str, query: Query | None = None) -> None:
        """Raises: Refusal, ServerUnreachable."""
        self._send("DELETE", path, query)

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], query: Query | None = None
    ) -> Iterator[httpx.Response]:
        """A streamed response. Raises: Refusal, ServerUnreachable."""
        timeout = httpx.Timeout(TIMEOUT_S, read=_SILENCE_S)
        with (
            self._reaching(),
            self._http.stream(
                "GET", path, params=_params(query) or None, headers=dict(headers), timeout=timeout
            ) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise Refusal(_problem(answer))
            yield answer

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, object] | msgspec.Struct | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        all_headers = dict(headers or {}) | ({"Content-Type": "application/json"} if content else {})
        with self._reaching():
            return _content(
                self._http.request(method, path, params=_params(query), content=content, headers=all_headers)
            )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ServerUnreachable(
                f"cannot reach the server at {self.url} ({reason}); start it with `spoon serve`"
            ) from error


def quoted(name: str) -> str:
    """An id as one segment of a path."""
    return quote(name, safe="")


def read(body: bytes | msgspec.Raw, kind: type[Read]) -> Read:
    """A response as a value. Raises: SpoonError, if it does not have this type."""
    try:
        return msgspec.json.decode(body, type=analyzed(kind))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpoonError(
            f"unexpected response from the server, which may be another version: {error}"
        ) from error


def _params(query: Query | None) -> dict[str, str | int | bool]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _texts(body: Mapping[str, object] | msgspec.Struct) -> dict[str, str]:
    """The fields of a form: strings unchanged, everything else as JSON."""
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
    return {name: _text(raw) for name, raw in fields.items() if bytes(raw) != b"null"}


def _text(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    return msgspec.json.decode(raw, type=str) if text.startswith('"') else text


def _content(answer: httpx.Response) -> bytes:
    """The body of a successful response. Raises: Refusal."""
    if not answer.is_success:
        raise Refusal(_problem(answer))
    return answer.content


def _problem(answer: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(answer.content, type=analyzed(Problem))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(
            status=answer.status_code,
            detail=f"the server returned {answer.status_code} {answer.reason_phrase}",
            code=f"http_{answer.status_code}",
        )
