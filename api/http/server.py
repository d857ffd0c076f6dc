"""waitress around the application: its options, its own errors as problem documents, and a gentle end."""

import logging
import secrets
import socket
import time
from typing import Final

import falcon
import msgspec
import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from api.http.errors import Malformed, TooLarge
from api.http.problems import CONTENT_TYPE, problem_of
from conf.settings import Server
from kernel.protocol.errors import BadConfiguration, SpoonError

LOOP_S: Final = 10.0
"""How often the idle server looks for connections that are too old."""
CHANNEL_TIMEOUT_S: Final = 120
MAX_CONNECTIONS: Final = 1_000
MAX_HEADER_BYTES: Final = 64 << 10
BACKLOG: Final = 1_024


class HttpServer:
    """Listens from the moment it is made; serves while `run` runs."""

    def __init__(self, app: "falcon.App[falcon.Request, falcon.Response]", settings: Server) -> None:
        listener = _listen(settings.host, settings.port)
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        """Where it listens, with the real port."""
        self._server = waitress.create_server(
            app,
            sockets=[listener],
            threads=settings.threads,
            ident=None,
            max_request_body_size=settings.max_body_bytes,
            max_request_header_size=MAX_HEADER_BYTES,
            channel_timeout=CHANNEL_TIMEOUT_S,
            connection_limit=MAX_CONNECTIONS,
            asyncore_loop_timeout=LOOP_S,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=False,  # nothing here reads them
        )
        self._server.channel_class = _Channel
        # Waiting for a free thread is what the queue is for: no line in the log for each request that does.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._is_stopping = False

    def run(self) -> None:
        """Serve until `stop` is called."""
        while not self._is_stopping:
            self._turn(LOOP_S)

    def stop(self) -> None:
        """Make `run` return. May be called by a signal handler."""
        self._is_stopping = True
        self._server.pull_trigger()

    def finish(self, grace_s: float) -> None:
        """Accept nothing more, let the requests in flight end, at most so long; then hang up on everyone."""
        wasyncore.dispatcher.close(self._server)
        until = time.monotonic() + grace_s
        while self._is_busy() and time.monotonic() < until:
            self._turn(0.05)
        self._server.task_dispatcher.shutdown(timeout=max(0.1, until - time.monotonic()))
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.close()

    def _turn(self, timeout_s: float) -> None:
        wasyncore.loop(timeout=timeout_s, use_poll=True, map=self._server._map, count=1)

    def _is_busy(self) -> bool:
        return any(
            channel.requests or channel.total_outbufs_len for channel in self._server.active_channels.values()
        )


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """What waitress itself refuses, before the application sees it: as a problem document."""

    def execute(self) -> None:
        error = self.request.error
        problem = problem_of(_translate(error.code, str(error.body)), secrets.token_hex(8))
        body = msgspec.json.encode(msgspec.structs.replace(problem, status=error.code))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", CONTENT_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    error_task_class = _ProblemTask


def _translate(status: int, text: str) -> SpoonError:
    if status in (413, 431):
        return TooLarge(text)
    return Malformed(text) if status < 500 else SpoonError("the server made a mistake; its log tells more")


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket on the first address of the host.

    Raises: BadConfiguration, if the address cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadConfiguration(f"server.host {host}, server.port {port}: {error.strerror}") from error
