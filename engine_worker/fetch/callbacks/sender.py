"""Posts callbacks to their receivers, several at once, through the guarded door.

Only the status of an answer counts: its body is not read, its redirects are not followed, and each attempt
has a connection of its own, which ends after LIMIT_S. Nothing that a receiver says is kept, except its status
and how long it asks to be left alone.
"""

import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import httpcore

from engine_worker.fetch.callbacks.retry_after import retry_after_s
from engine_worker.fetch.net.address_policy import AddressPolicy
from engine_worker.fetch.net.http_client import (
    USER_AGENT,
    GuardedBackend,
    Interrupted,
    checked,
    system_trust,
    translated,
)
from engine_worker.fetch.net.time_limit import TimeLimit
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.worker import CallbackEnded, SendCallback

LIMIT_S: Final = 15.0
"""For one attempt, from the lookup of the name on."""
CONNECT_S: Final = 5.0
THREADS: Final = 16
"""As many as the Manager has under way (`kernel/core/state/delivery_queue.py:MAX_SENDING`)."""

Report = Callable[[CallbackEnded], None]


@dataclass(frozen=True, slots=True)
class CallbackSender:
    """Sends in threads of its own."""

    guard: AddressPolicy
    report: Report
    limit_s: float = LIMIT_S
    trust: ssl.SSLContext = field(default_factory=system_trust)
    clock: Callable[[], float] = time.time
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "callbacks"))

    def send(self, order: SendCallback) -> None:
        """Post in the background, then report what came of it."""
        self._pool.submit(self._run, order)

    def _run(self, order: SendCallback) -> None:
        self.report(self.post(order))

    def post(self, order: SendCallback) -> CallbackEnded:
        """Post one callback, and wait for the answer."""
        try:
            with translated(order.url):
                return self._post(order)
        except (DownloadFailed, Interrupted) as error:
            return CallbackEnded(delivery_id=order.delivery_id, attempt=order.attempt, text=str(error))

    def _post(self, order: SendCallback) -> CallbackEnded:
        url = checked(order.url)
        body = order.body.encode()
        headers = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **order.headers,
        }
        door = GuardedBackend(self.guard, TimeLimit(httpcore.SyncBackend(), self.limit_s))
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        times = {"connect": CONNECT_S, "read": self.limit_s, "write": self.limit_s, "pool": self.limit_s}
        with (
            httpcore.ConnectionPool(ssl_context=self.trust, network_backend=door) as pool,
            pool.stream(
                "POST", target, headers=list(headers.items()), content=body, extensions={"timeout": times}
            ) as response,
        ):
            return CallbackEnded(
                delivery_id=order.delivery_id,
                attempt=order.attempt,
                answered=response.status,
                retry_after_s=retry_after_s(response.headers, self.clock()),
            )


def build_sender(allow_hosts: tuple[str, ...], report: Report) -> CallbackSender:
    """A sender for the hosts that the owner allows."""
    hosts = frozenset(host.lower() for host in allow_hosts)
    return CallbackSender(AddressPolicy(hosts, setting="callbacks.allow_hosts"), report)
