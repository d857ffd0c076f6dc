"""HTTP requests: redirects are checked one by one, and the response body is read as it arrives.

Nothing here decodes bodies, stores cookies, uses a proxy or reads the environment: only the headers written
here are sent.
"""

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import certifi
import httpcore
import httpx

from engine_worker.fetch.net.address_policy import AddressPolicy, Unreachable
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.sources import BadSource, check_url

MAX_REDIRECTS: Final = 5
MAX_SMALL_BYTES: Final = 16 << 20
"""The largest answer that is read into memory."""
MAX_ATTEMPTS: Final = 3
"""Of a small request."""
USER_AGENT: Final = "automatic-spoon"
_OFFLINE: Final = "this server seems to be offline; local files and uploads work without it"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
Answered = TypeVar("Answered")
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Interrupted(Exception):
    """The connection or the server failed; the bytes so far are good, and a retry may succeed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server. Units: seconds, bytes per second."""

    connect_s: float = 15.0
    stall_s: float = 30.0
    """Without a single byte."""
    slow_after_s: float = 60.0
    slowest_bytes_per_s: int = 1024
    """A server that sends less than this, over all of `slow_after_s`, is given up. The whole download has no
    limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `chunks` is its body, undecoded, readable once."""

    url: str
    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    chunks: Iterator[bytes]


class HttpClient:
    """Sends requests. The guarded backend checks every hop's address; this class checks every hop's URL."""

    def __init__(
        self,
        guard: AddressPolicy,
        tokens: Mapping[str, str],
        patience: Patience,
        backend: httpcore.NetworkBackend | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`tokens` are by host, `name` or `name:port`; `backend` and `trust` are the system's except in
        tests."""
        self._guard = guard
        self._tokens = tokens
        self.patience = patience
        door = GuardedBackend(guard, backend or httpcore.SyncBackend())
        self._pool = httpcore.ConnectionPool(ssl_context=trust or system_trust(), network_backend=door)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """The response at the end of the redirects.

        Raises: DownloadFailed, if an address is not allowed or the response is encoded; Interrupted, if the
        connection or the server fails, also while the body is read.
        """
        with translated(url), self._follow(url, headers) as answer:
            yield answer

    def read(self, url: str, headers: Mapping[str, str]) -> tuple[Answer, bytes]:
        """The response, and its whole body.

        Raises: as `get`; DownloadFailed also for a body that is too large.
        """
        body = bytearray()
        with self.get(url, headers) as answer:
            for chunk in answer.chunks:
                body += chunk
                if len(body) > MAX_SMALL_BYTES:
                    host = httpx.URL(url).host
                    raise DownloadFailed(f"{host} answered with more than {MAX_SMALL_BYTES} bytes")
        return answer, bytes(body)

    @contextmanager
    def _follow(self, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        first = here = checked(url)
        for _ in range(MAX_REDIRECTS + 1):
            asked = dict(headers) | self._credentials(first, here)
            with self._ask(here, asked) as answer:
                if answer.status not in _REDIRECTS:
                    _check_encoding(answer)
                    yield answer
                    return
                here = self._next(first, here, answer)
        raise DownloadFailed(f"{first.host} redirects too many times")

    def _next(self, first: httpx.URL, here: httpx.URL, answer: Answer) -> httpx.URL:
        """The target of a redirect.

        Raises: DownloadFailed, if it has none, or leads from https to http, or from a public host to one of
        the owner's own hosts.
        """
        place = answer.headers.get("location")
        if place is None:
            raise DownloadFailed(f"{here.host} redirects without a location")
        try:
            there = checked(str(here.join(place)))
        except (httpx.InvalidURL, DownloadFailed) as error:
            raise DownloadFailed(
                f"{here.host} redirects to an address that is not allowed: {error}"
            ) from error
        if here.scheme == "https" and there.scheme != "https":
            raise DownloadFailed(f"{here.host} redirects from https to http, which is not secure")
        if self._is_own(there) and not self._is_own(first):
            raise Unreachable(f"{here.host} redirects into your own network")
        return there

    def _is_own(self, url: httpx.URL) -> bool:
        return self._guard.is_own(url.host, _port(url))

    def _credentials(self, first: httpx.URL, here: httpx.URL) -> dict[str, str]:
        """A token goes to its own host only, never after a redirect from another host, and never
        unencrypted."""
        port = _port(here)
        token = self._tokens.get(f"{here.host}:{port}") or self._tokens.get(here.host)
        is_safe = here.scheme == "https" or self._is_own(here)
        if token is None or not is_safe or (here.host, port) != (first.host, _port(first)):
            return {}
        return {"Authorization": f"Bearer {token}"}

    @contextmanager
    def _ask(self, url: httpx.URL, headers: Mapping[str, str]) -> Iterator[Answer]:
        patience = self.patience
        timeouts = {
            "connect": patience.connect_s,
            "read": patience.stall_s,
            "write": patience.stall_s,
            "pool": patience.connect_s,
        }
        sent = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            **headers,
        }
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with self._pool.stream(
            "GET", target, headers=list(sent.items()), extensions={"timeout": timeouts}
        ) as response:
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
            }
            yield Answer(str(url), response.status, found, response.iter_stream())


def ask_site(name: str, ask: Callable[[], Answered]) -> Answered:
    """The answer of `ask`, a small request, which is repeated if the connection breaks.

    Raises: DownloadFailed, if the site cannot be reached, with its `name`; what `ask` raises.
    """
    failure: Exception | None = None
    for _ in range(MAX_ATTEMPTS):
        try:
            return ask()
        except Interrupted as error:
            failure = error
        except Unreachable as error:
            raise DownloadFailed(f"cannot find {name}: {_OFFLINE}") from error
    raise DownloadFailed(f"cannot reach {name} ({failure}): {_OFFLINE}")


def host_of(url: str) -> str:
    """The host of a URL, with its port if it is not the usual one."""
    return httpx.URL(url).netloc.decode("ascii")


def token_line(url: str) -> str:
    """The line of the configuration that gives this URL's host a token, with a variable of a likely name."""
    host = httpx.URL(url).host
    labels = host.split(".")
    known = "" if len(labels) < 2 or labels[-1].isdigit() else f"{labels[-2].replace('-', '_').upper()}_"
    return f'models.tokens = ["{host}=env:{known}TOKEN"]'


def system_trust() -> ssl.SSLContext:
    """The system's certificates (SSL_CERT_FILE and SSL_CERT_DIR name others) and certifi's."""
    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    return trust


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Errors of the connection to a URL in words.

    Raises: Interrupted.
    """
    host = httpx.URL(url).host
    try:
        yield
    except (httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
        raise Interrupted(f"{host} does not accept the connection") from error
    except httpcore.TimeoutException as error:
        raise Interrupted(f"{host} stopped sending") from error
    except httpcore.ConnectError as error:
        raise Interrupted(f"cannot connect to {host}: {_reason(error)}") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Interrupted(f"the connection to {host} broke: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The system's message, without its numbers."""
    return str(error).partition("] ")[2] or str(error) or type(error).__name__


def checked(url: str) -> httpx.URL:
    """The parsed URL, checked in its final form, so that the checked URL is the one that is requested.

    Raises: DownloadFailed.
    """
    try:
        found = httpx.URL(check_url(url))
        check_url(str(found.copy_with(fragment=None)))
    except (httpx.InvalidURL, BadSource, UnicodeError) as error:
        raise DownloadFailed(f"the address {error}") from error
    return found.copy_with(fragment=None)


def _check_encoding(answer: Answer) -> None:
    """Refuse a compressed body: it could decompress to any size, and is not a file with a known digest.

    Raises: DownloadFailed.
    """
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise DownloadFailed(
            f"{httpx.URL(answer.url).host} sends the file compressed, which is not supported"
        )


def _port(url: httpx.URL) -> int:
    return url.port or _PORTS[url.scheme]


class GuardedBackend(httpcore.NetworkBackend):
    """The only way out: every connection of a fetch worker is made here, to an address that the policy
    allows.

    It connects to addresses, never to names, and checks the peer's address of the connected socket.
    """

    def __init__(self, guard: AddressPolicy, inner: httpcore.NetworkBackend) -> None:
        self._guard = guard
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of the host that answers.

        Raises: Unreachable; httpcore.ConnectError, httpcore.ConnectTimeout, if none answers.
        """
        failure: Exception | None = None
        for address in self._guard.addresses(host, port):
            try:
                stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._check(host, port, stream)
            return stream
        raise failure or Unreachable(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises: Unreachable, always."""
        raise Unreachable("models cannot be downloaded from a Unix socket")

    def _check(self, host: str, port: int, stream: httpcore.NetworkStream) -> None:
        """Check the address that is actually connected. Source: getpeername(2).

        Raises: Unreachable.
        """
        peer = stream.get_extra_info("server_addr")
        if not self._guard.may_reach(host, port, str(peer[0])):
            stream.close()
            raise Unreachable(f"{host} resolved to an address that is not allowed")
