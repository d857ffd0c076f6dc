"""Requests that a client sends again: they join the job that the first one has submitted.

OpenAI's clients repeat a request whose answer did not come (a proxy cut it, the server was restarted), with
`x-stainless-retry-count` and without an idempotency key: they would get, and wait for, a second image. So
each job has a key of the bus that begins with the digest of its request. The Manager keeps keys on disk, so
that a retry finds the job after a restart of everything; the newest keys are kept here as well, for a retry
that comes while the first request is still being submitted.
"""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import falcon
import msgspec

from kernel.views.jobs import last_key
from kernel.views.reader import Reader

WINDOW_MS: Final = 1_800_000
"""A client may wait ten minutes three times."""
MAX_KEPT: Final = 1_000
HEADER: Final = "X-Stainless-Retry-Count"


def digest_of(req: falcon.Request, fields: Mapping[str, object], files: Iterable[tuple[str, bytes]]) -> str:
    """The digest of what a caller asks for. A form is never the same twice, byte for byte: its parts are."""
    found = hashlib.sha256(f"{req.path}\n{req.get_header('Authorization') or ''}\n".encode())
    found.update(msgspec.json.encode(fields, order="deterministic"))
    for name, data in files:
        found.update(f"\n{name} {len(data)} ".encode())
        found.update(data)
    return found.hexdigest()


class Retries:
    """Gives each request its key, and a retry that of the request before it."""

    def __init__(self, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, int]] = OrderedDict()
        """The newest key of each digest, and its time."""

    def key_of(self, req: falcon.Request, digest: str) -> str:
        """The key of a request with this digest."""
        now_ms, prefix = self._now_ms(), f"openai:{digest}:"
        if is_retry(req):
            key = self._newest(digest, now_ms) or last_key(self._reader, prefix, now_ms - WINDOW_MS)
            if key is not None:
                return key
        key = f"{prefix}{secrets.token_hex(8)}"
        with self._lock:
            self._kept[digest] = (key, now_ms)
            self._kept.move_to_end(digest)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return key

    def _newest(self, digest: str, now_ms: int) -> str | None:
        with self._lock:
            key, at_ms = self._kept.get(digest, (None, 0))
        return key if now_ms - at_ms <= WINDOW_MS else None


def is_retry(req: falcon.Request) -> bool:
    """True if the client says that it has sent this request before."""
    count = req.get_header(HEADER) or ""
    return count.isascii() and count.isdigit() and int(count[:9]) > 0
