"""waitress around the application: its options, its start, and a graceful stop."""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

import falcon
from waitress import wasyncore
from waitress.adjustments import Adjustments

from api.http.framework.bodies import BODIES_AT_ONCE, Budget
from api.http.framework.body_intake import BodyIntake, BodyTerms
from api.http.framework.channels import channel_class
from api.http.framework.connection_limits import Capacity, Deadlines, capacity_for
from api.http.framework.deferral import Deferral
from api.http.framework.guard import Guard
from api.http.framework.listener import Listener, Observe
from api.http.framework.thread_pools import shares_of, waits_of
from api.http.framework.threads import Threads
from api.http.proxies.sender import Proxies
from conf.settings import Server
from kernel.process.log import line
from kernel.process.startup import raise_file_limit
from kernel.protocol.errors import BadConfiguration

LOOP_S: Final = 10.0
"""The longest sleep of an idle server."""
BACKLOG: Final = 2_048
UNSENT_BYTES: Final = 256 << 10
DEADLINES: Final = Deadlines()
RECEIVE_BYTES: Final = 64 << 10
"""An uploaded model arrives in fewer pieces than with the default of 8 KiB."""

_log: Final = logging.getLogger("spoon.api.http")


NO_TERMS: Final = BodyTerms()


class HttpServer:
    """Listens from its construction on; serves while `run` runs."""

    def __init__(
        self,
        app: "falcon.App[falcon.Request, falcon.Response]",
        settings: Server,
        bodies: BodyTerms = NO_TERMS,
        is_silent: Callable[[], bool] = lambda: False,
        deferral: Deferral | None = None,
        deadlines: Deadlines = DEADLINES,
    ) -> None:
        """`is_silent`: returns whether the Manager does not answer, so that waiting for it is useless.
        `deferral`: None: every request has a thread. `deadlines`: besides that of heads, which is a setting.
        """
        listening = _listen(settings.host, settings.port)
        host, port = listening.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        """Where it listens, with the actual port."""
        deadlines = replace(deadlines, head_s=settings.request_timeout_s)
        self._threads = Threads(shares_of(settings), is_silent)
        self._server = Listener(
            app,
            listening,
            self._threads,
            _options(listening, settings, deadlines),
            (_capacity(settings), deadlines),
            deferral,
        )
        guard = Guard(settings.host, settings.allowed_hosts)
        self._intake = _intake(settings, bodies, guard)
        proxies = Proxies(settings.trusted_proxies, guard.check_host)
        self._server.channel_class = channel_class(self._intake, proxies)
        self._is_stopping = False

    def report_to(self, observe: Observe) -> None:
        """Have each response reported, by any thread."""
        self._server.observe = observe

    def run(self) -> None:
        """Serve until `stop` is called."""
        while not self._is_stopping:
            self._server.turn(LOOP_S)

    def stop(self) -> None:
        """Make `run` return. May be called by a signal handler, at any time and repeatedly."""
        self._is_stopping = True
        self._server.pull_trigger()

    def finish(self, grace_s: float) -> None:
        """Accept no more connections, wait at most `grace_s` for requests in progress, then close all."""
        wasyncore.dispatcher.close(self._server)
        until = time.monotonic() + grace_s
        while self._is_busy() and time.monotonic() < until:
            self._server.turn(0.05)
        self._threads.shutdown(timeout=max(0.1, until - time.monotonic()))
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._intake.close()
        self._server.is_over = True
        self._server.trigger.close()
        self._server.sockets.close()

    def _is_busy(self) -> bool:
        return any(
            channel.requests or channel.total_outbufs_len for channel in self._server.active_channels.values()
        )


def _options(listening: socket.socket, settings: Server, deadlines: Deadlines) -> Adjustments:
    options = Adjustments(
        sockets=[listening],
        ident=None,
        backlog=BACKLOG,
        max_request_body_size=settings.max_body_bytes,
        recv_bytes=RECEIVE_BYTES,
        log_socket_errors=False,
        clear_untrusted_proxy_headers=False,  # the parser has done so
    )
    options.socket_options = _socket_options(deadlines.grace_s)
    return options


def _socket_options(silence_s: float) -> list[tuple[int, int, int]]:
    """Of each connection (tcp(7)).

    A client that confirms nothing for so long is gone, as when a cable was pulled; by default the system goes
    on sending for a quarter of an hour. Of what a client does not take, the system keeps little: by default
    megabytes for each.
    """
    return [
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(silence_s * 1_000)),
    ]


def _capacity(settings: Server) -> Capacity:
    """The most connections that are possible; logs it, if they are fewer than configured."""
    wanted = Capacity(settings.max_connections, settings.max_connections_per_address)
    threads = sum(shares_of(settings).values()) + waits_of(settings)
    open_files = raise_file_limit()
    found = capacity_for(wanted, open_files, threads)
    if found.total < wanted.total:
        _log.warning(line("fewer_connections", count=found.total, wanted=wanted.total, open_files=open_files))
    return found


def _intake(settings: Server, terms: BodyTerms, guard: Guard) -> BodyIntake:
    most = settings.max_body_bytes
    budget = Budget(BODIES_AT_ONCE * most, 0 if terms.uploads is None else terms.uploads.min_free_bytes)
    return BodyIntake(guard, most, budget, terms)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address that `host` stands for.

    Raises: BadConfiguration, if it stands for none.
    """
    try:
        _, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadConfiguration(f"server.host {host}: {error.strerror}") from error
    return ip_address(address[0]).is_loopback


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket on the first address of the host.

    Raises: BadConfiguration, if the address cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadConfiguration(f"server.host {host}, server.port {port}: {error.strerror}") from error
