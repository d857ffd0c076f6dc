"""waitress around the application: its options, its start, and a gentle end."""

import logging
import socket
import time
from typing import Final

import falcon
import waitress
from waitress import wasyncore

from api.http.channels import channel_class
from api.http.guard import Guard
from api.http.uploads import UploadLimits
from conf.settings import Server
from kernel.protocol.errors import BadConfiguration

LOOP_S: Final = 10.0
"""How often the idle server looks for connections that are too old."""
CHANNEL_TIMEOUT_S: Final = 120
MAX_CONNECTIONS: Final = 1_000
MAX_HEADER_BYTES: Final = 64 << 10
BACKLOG: Final = 1_024
RECEIVE_BYTES: Final = 64 << 10
"""A model that is uploaded comes in fewer pieces than with the usual 8 KiB."""


class HttpServer:
    """Listens from the moment it is made; serves while `run` runs."""

    def __init__(
        self,
        app: "falcon.App[falcon.Request, falcon.Response]",
        settings: Server,
        uploads: UploadLimits | None = None,
    ) -> None:
        """Without `uploads` no request may be longer than `max_body_bytes`."""
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
            recv_bytes=RECEIVE_BYTES,
            asyncore_loop_timeout=LOOP_S,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=False,  # nothing here reads them
        )
        self._server.channel_class = channel_class(Guard(settings.host, settings.allowed_hosts), uploads)
        # Waiting for a free thread is what the queue is for: no line in the log for each request that does.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._is_stopping = self._is_over = False

    def run(self) -> None:
        """Serve until `stop` is called."""
        while not self._is_stopping:
            self._turn(LOOP_S)

    def stop(self) -> None:
        """Make `run` return. May be called by a signal handler, at any time and again."""
        self._is_stopping = True
        if not self._is_over:
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
        self._is_over = True
        self._server.trigger.close()

    def _turn(self, timeout_s: float) -> None:
        wasyncore.loop(timeout=timeout_s, use_poll=True, map=self._server._map, count=1)

    def _is_busy(self) -> bool:
        return any(
            channel.requests or channel.total_outbufs_len for channel in self._server.active_channels.values()
        )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket on the first address of the host.

    Raises: BadConfiguration, if the address cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadConfiguration(f"server.host {host}, server.port {port}: {error.strerror}") from error
