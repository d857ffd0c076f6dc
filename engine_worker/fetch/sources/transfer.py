"""Downloads one file: resumed where it stopped, checked while it arrives, never beyond the size limit.

A model has gigabytes, and connections break, so bytes that have arrived are kept and a retry asks for the
rest. Resuming is only safe if the server has the same file: the request has If-Range with a strong ETag, and
a 206 is accepted only with that ETag and the requested range (RFC 9110, sections 13.1.5 and 15.3.7). A server
that ignores the range sends the whole file, and the download starts over. Errors are of two kinds:
`Interrupted` may pass, is retried with pauses that double, and counts as a failure in a row only if hardly
anything arrived; `Unwanted` would happen again, so the file is removed. The sha256 is checked at the end, and
the free disk space while the file grows, because other programs write too.
"""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from engine_worker.fetch.net.address_policy import Unreachable
from engine_worker.fetch.net.http_client import (
    Answer,
    HttpClient,
    Interrupted,
    Patience,
    host_of,
    token_line,
)
from engine_worker.fetch.sources.partial_file import PartialFile
from engine_worker.fetch.sources.size_quota import SizeQuota, TooLarge
from engine_worker.port import ProgressCallback
from kernel.protocol.errors import DiskFull, DownloadFailed

MAX_FAILURES: Final = 5
"""Interruptions in a row, with hardly anything gained, before the download fails."""
MAX_ATTEMPTS: Final = 100
GAIN_BYTES: Final = 1 << 20
LOOK_AT_DISK_BYTES: Final = 32 << 20
CHECKPOINT_S: Final = 5.0
"""Bytes older than this survive a crash."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0

_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_WEB_PAGE: Final = (b"<!doctype html", b"<html", b"<?xml", b"<head")
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
SHOWN_S = 5.0
"""The displayed rate is averaged over this time."""
_SAMPLE_S = 0.25


class Unwanted(DownloadFailed):
    """The server's file is not the expected one, and would not be at a retry."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The declared properties of a file."""

    size_bytes: int | None = None
    sha256: str | None = None
    notice: str = ""
    """Added to the error if access is refused."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Downloads files. `quota` limits the file itself."""

    web: HttpClient
    quota: SizeQuota
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, url: str, part: PartialFile, expected: Expected, on_progress: ProgressCallback) -> str:
        """Download the file, and return its sha256. Its bytes are kept if a retry makes sense, else removed.

        Raises: DownloadFailed; DiskFull.
        """
        try:
            self._pull_all(url, part, expected, on_progress)
            found = part.sha256(lambda done: on_progress(done, part.size_bytes, None))
        except (Unwanted, TooLarge):
            part.remove()
            raise
        except OSError as error:
            raise DiskFull(f"cannot write the file: {error.strerror}") from error
        if expected.sha256 is not None and found != expected.sha256.lower():
            part.remove()
            raise Unwanted(f"the file's sha256 is {found}, but {expected.sha256} was declared")
        return found

    def _pull_all(
        self, url: str, part: PartialFile, expected: Expected, on_progress: ProgressCallback
    ) -> None:
        """Request until the file is complete. A connection that breaks often but makes progress is
        tolerated."""
        failures = 0
        for _ in range(MAX_ATTEMPTS):
            before = part.size_bytes
            try:
                _Pull(self, url, part, expected, on_progress).run()
                return
            except (Interrupted, Unreachable) as error:
                if isinstance(error, Unreachable) and part.size_bytes == 0:
                    raise
                # A host that was reached before cannot be resolved while the network is down.
                has_gained = part.size_bytes - before >= GAIN_BYTES
                failures = 1 if has_gained else failures + 1
                if failures >= MAX_FAILURES:
                    raise DownloadFailed(f"{error}; {part.size_bytes} bytes are kept for a retry") from error
            self.sleep(min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S))
        raise DownloadFailed(f"the connection broke {MAX_ATTEMPTS} times: retry to continue")


class _Throughput:
    """The rate of a download: to display, and to give up if it is too slow. Units: monotonic seconds."""

    def __init__(self, patience: Patience, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._total = 0
        self._window = (clock(), 0)

    def count(self, size_bytes: int) -> None:
        """Count received bytes.

        Raises: Interrupted, if the rate has been too low for too long.
        """
        self._total += size_bytes
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now, self._total))
            while len(self._samples) > 2 and now - self._samples[1][0] >= SHOWN_S:
                self._samples.popleft()
        self._check(now)

    def bytes_per_s(self) -> int | None:
        """The rate of the last seconds; None, if there are too few samples."""
        began, before = self._samples[0]
        spent_s = self._clock() - began
        return int((self._total - before) / spent_s) if spent_s >= _SAMPLE_S else None

    def _check(self, now: float) -> None:
        since, before = self._window
        if now - since < self._patience.slow_after_s:
            return
        if self._total - before < self._patience.slowest_bytes_per_s * (now - since):
            raise Interrupted("the server sends data too slowly")
        self._window = (now, self._total)


@dataclass(slots=True)
class _Pull:
    """One request and its response."""

    means: Transfer
    url: str
    part: PartialFile
    expected: Expected
    on_progress: ProgressCallback
    total: int | None = None
    looked_at: int = 0
    checkpoint_at_s: float = 0.0
    pace: _Throughput = field(init=False)

    def run(self) -> None:
        """Raises: Interrupted; DownloadFailed; DiskFull; OSError."""
        asked = {}
        if self.part.etag is not None and self.part.size_bytes > 0:
            asked = {"Range": f"bytes={self.part.size_bytes}-", "If-Range": self.part.etag}
        with self.means.web.get(self.url, asked) as answer:
            self._begin(answer, is_partial=bool(asked))
            self._check_quota()
            self.pace = _Throughput(self.means.web.patience, self.means.clock)
            for chunk in () if answer.status == 416 else answer.chunks:
                self._take(chunk)
        self._check_end()

    def _begin(self, answer: Answer, *, is_partial: bool) -> None:
        """Continue at the end of the partial file, or start over if the server sends the whole file."""
        if answer.status == 206 and is_partial:
            self.total = self._total_of_range(answer)
        elif answer.status == 200:
            self.part.begin(_strong(answer.headers.get("etag")))
            self.total = _length_of(answer)
        elif answer.status == 416 and is_partial:
            self.total = self._total_of_nothing_left(answer)
        else:
            raise self._refusal(answer)
        if None not in (self.total, self.expected.size_bytes) and self.total != self.expected.size_bytes:
            raise Unwanted(f"the file has {self.total} bytes, but {self.expected.size_bytes} were expected")
        self.total = self.total if self.total is not None else self.expected.size_bytes

    def _total_of_range(self, answer: Answer) -> int | None:
        """The total size from a 206. Source: RFC 9110, sections 13.1.5 and 15.3.7.

        Raises: Interrupted, if it has another ETag or range.
        """
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        etag = answer.headers.get("etag", self.part.etag)
        if found is None or int(found[1]) != self.part.size_bytes or etag != self.part.etag:
            self.part.begin(None)
            raise Interrupted("the server sent a different range than requested")
        return None if found[3] == "*" else int(found[3])

    def _total_of_nothing_left(self, answer: Answer) -> int:
        """The total size from a 416: If-Range held, so the file is complete, or the server is wrong.

        Raises: Interrupted, if it is not.
        """
        if answer.headers.get("content-range") != f"bytes */{self.part.size_bytes}":
            self.part.begin(None)
            raise Interrupted("the file changed on the server")
        return self.part.size_bytes

    def _check_quota(self) -> None:
        self.means.quota.check_size(self.total or 0)
        self.means.quota.check_disk(max((self.total or 0) - self.part.size_bytes, 0))
        self.looked_at = self.part.size_bytes

    def _take(self, chunk: bytes) -> None:
        is_first = self.part.size_bytes == 0
        if is_first and chunk.lstrip()[:16].lower().startswith(_WEB_PAGE):
            raise Unwanted(
                "the server sent a web page, not a model: it may require a token, "
                f"{token_line(self.url)}{self.expected.notice}"
            )
        self.means.quota.check_size(self.part.size_bytes + len(chunk))
        if self.total is not None and self.part.size_bytes + len(chunk) > self.total:
            raise Unwanted(f"the server sent more than the announced {self.total} bytes")
        self.part.append(chunk)
        if self.part.size_bytes - self.looked_at >= LOOK_AT_DISK_BYTES:
            self.looked_at = self.part.size_bytes
            self.means.quota.check_disk()
        self._make_durable_now_and_then()
        self.pace.count(len(chunk))
        self.on_progress(self.part.size_bytes, self.total, self.pace.bytes_per_s())

    def _make_durable_now_and_then(self) -> None:
        now = self.means.clock()
        if now >= self.checkpoint_at_s:
            self.checkpoint_at_s = now + CHECKPOINT_S
            self.part.checkpoint()

    def _refusal(self, answer: Answer) -> Exception:
        host, asked = host_of(answer.url), host_of(self.url)
        if answer.status in _TRY_AGAIN:
            return Interrupted(f"{host} is temporarily unavailable (status {answer.status})")
        if answer.status in (401, 403) and host == asked:
            return DownloadFailed(
                f"{host} refuses access to the file (status {answer.status}): set a valid token, "
                f"{token_line(self.url)}{self.expected.notice}"
            )
        if answer.status in (401, 403):  # a link for a limited time: the next request gets a new one
            return Interrupted(
                f"{asked} redirects to {host}, which refuses access to the file (status {answer.status})"
            )
        if answer.status in (404, 410):
            return DownloadFailed(f"{host} has no such file (status {answer.status})")
        return DownloadFailed(f"{host} returned status {answer.status} instead of the file")

    def _check_end(self) -> None:
        if self.part.size_bytes == 0:
            raise Unwanted("the file is empty")
        if self.total is not None and self.part.size_bytes < self.total:
            raise Interrupted(f"only {self.part.size_bytes} of {self.total} bytes arrived")


def _strong(etag: str | None) -> str | None:
    """The ETag, if it is strong: only then it promises the same bytes (RFC 9110, section 8.8.1)."""
    return etag if etag is not None and etag.startswith('"') and etag.isprintable() else None


def _length_of(answer: Answer) -> int | None:
    length = answer.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) <= 18 else None
