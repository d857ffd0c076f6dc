"""Request bodies while they arrive: a few bytes in memory, the rest in unnamed files, within one budget.

A server that reads bodies into memory can be filled by anybody who sends many at once, so all bodies together
have a budget of disk space, which is checked against free space too (adr/0036). A body counts from its first
byte on the way to the disk until its request is answered or refused, or its connection is gone. Files have no
names, so a crash leaves none behind. The thread of the sockets serves all connections and must not wait for a
disk: it hands bytes to one writer thread, and stops reading a connection whose backlog is full. The writer is
one thread because disks gain nothing from more, and a full disk is then reported in order.
"""

import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import IO, Final

from kernel.protocol.errors import DiskFull, SpoonError, TooManyRequests

IN_MEMORY_BYTES: Final = 16 << 10
"""Nearly every request is shorter. Each of thousands of connections may use this much."""
BACKLOG_BYTES: Final = 256 << 10
"""Bytes of one body that may wait in memory for the disk; above this its connection is not read."""
BODIES_AT_ONCE: Final = 16
"""The disk budget is this many bodies of the maximum length."""
MAX_FILES: Final = 256
STOP_S: Final = 2.0
LOOK_EVERY_BYTES: Final = 16 << 20
FREE_SHARE: Final = 10
"""One part in this many of the disk stays free; less, if `images.min_free` is less."""
RETRY_AFTER_S: Final = 5.0


class Budget:
    """The disk space that all bodies together may use. Units: bytes."""

    def __init__(self, total_bytes: int, min_free_bytes: int, folder: str | None = None) -> None:
        """`folder`: the folder of the files; None: the system's folder for temporary files."""
        self._total = total_bytes
        self._min_free = min_free_bytes
        self._folder = folder
        self._lock = threading.Lock()
        self._taken = self._files = self._unlooked = 0

    @property
    def taken_bytes(self) -> int:
        return self._taken

    def check(self, length: int) -> None:
        """Check that a body of this length could be accepted now.

        Raises: TooManyRequests, DiskFull.
        """
        if length > IN_MEMORY_BYTES:
            with self._lock:
                self._check_total(length)
            self._look(length)

    def enter(self) -> None:
        """Reserve a file for one more body. Raises: TooManyRequests."""
        with self._lock:
            if self._files >= MAX_FILES:
                raise _too_many()
            self._files += 1

    def open(self) -> IO[bytes]:
        """A file for a body that has entered. Raises: OSError."""
        return tempfile.TemporaryFile(dir=self._folder)

    def take(self, count: int) -> None:
        """Reserve this many more bytes. Raises: TooManyRequests, DiskFull."""
        with self._lock:
            self._check_total(count)
            self._unlooked += count
            is_time = self._unlooked >= LOOK_EVERY_BYTES
            if is_time:
                self._unlooked = 0
        if is_time:
            self._look(count)
        with self._lock:
            self._taken += count

    def give_back(self, count: int) -> None:
        """Release a body's file and bytes."""
        with self._lock:
            self._taken -= count
            self._files -= 1

    def _check_total(self, count: int) -> None:
        if self._taken + count > self._total:
            raise _too_many()

    def _look(self, count: int) -> None:
        try:
            usage = shutil.disk_usage(self._folder or tempfile.gettempdir())
        except OSError as error:
            raise DiskFull(f"cannot use the folder for temporary files: {error.strerror}") from error
        keep = min(self._min_free, usage.total // FREE_SHARE)
        if usage.free - count < keep:
            raise DiskFull(
                f"the disk for temporary files has {usage.free} bytes free, and {keep} must stay free"
            )


class Writer:
    """The one thread that writes bodies to the disk, because the thread of the sockets must not wait for
    it."""

    def __init__(self) -> None:
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def start(self) -> None:
        """Start the thread, unless it is running. Raises: TooManyRequests."""
        with self._changed:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="bodies", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system cannot start another thread
                raise _too_many() from error
            self._thread = thread

    def do(self, errand: Callable[[], None], *, first: bool = False) -> None:
        """Run an errand after all earlier ones; with `first`, before them."""
        with self._changed:
            if first:
                self._errands.appendleft(errand)
            else:
                self._errands.append(errand)
            self._changed.notify()

    def stop(self) -> None:
        """End the thread after the pending errands; it is not waited for if the disk hangs."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while (errand := self._next()) is not None:
            errand()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._errands or self._is_over)
            return self._errands.popleft() if self._errands else None


class Body:
    """The buffer of one body, with the interface that waitress expects.

    Up to IN_MEMORY_BYTES it is in memory; above that the writer keeps all of it in a file.
    """

    def __init__(self, budget: Budget, writer: Writer, wake: Callable[[], None]) -> None:
        """`wake` is called, by the writer, when its connection should be checked again."""
        self.failure: SpoonError | None = None
        """Set as soon as it cannot be stored: then the request is to be refused."""
        self._budget = budget
        self._writer = writer
        self._wake = wake
        self._in_memory = BytesIO()
        self._file: IO[bytes] | None = None
        self._size = self._backlog = 0
        self._is_on_disk = self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_full(self) -> bool:
        """True if the connection should not be read for a while."""
        return self._backlog >= BACKLOG_BYTES

    def append(self, data: bytes) -> None:
        """Add bytes; after a failure they are dropped. Never waits for the disk."""
        if self.failure is not None:
            return
        try:
            if not self._is_on_disk and self._size + len(data) > IN_MEMORY_BYTES:
                data = self._move_to_disk() + data
            if self._is_on_disk:
                self._budget.take(len(data))
        except SpoonError as error:
            self._fail(error)
            return
        self._size += len(data)
        if self._is_on_disk:
            with self._changed:
                self._backlog += len(data)
            self._writer.do(partial(self._write, data))
        else:
            self._in_memory.write(data)

    def __len__(self) -> int:
        return self._size

    def settle(self) -> None:
        """Wait until all bytes so far are stored, or have failed."""
        if self._backlog:  # of a body in memory there never is any
            with self._changed:
                self._changed.wait_for(lambda: not self._backlog or self._is_closed)

    def getfile(self) -> IO[bytes]:
        """The whole body, to be read from its beginning."""
        self.settle()
        file = self._file or self._in_memory
        file.seek(0)
        return file

    def close(self) -> None:
        """Release the body; may be called twice. Its space is free at once."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        if self._is_on_disk:
            self._budget.give_back(self._size)
            self._writer.do(self._end, first=True)

    def _move_to_disk(self) -> bytes:
        """Returns: the bytes in memory so far. Raises: TooManyRequests."""
        self._writer.start()
        self._budget.enter()
        self._is_on_disk, self._size = True, 0
        return self._in_memory.getvalue()

    def _fail(self, error: SpoonError) -> None:
        self.failure = error
        self.close()

    # From here on: called by the writer.

    def _write(self, data: bytes) -> None:
        if self._is_closed:
            return
        try:
            if self._file is None:
                self._file = self._budget.open()
            self._file.write(data)
            self._file.flush()  # report a full disk now: when the body is read, it is too late for a response
        except OSError as error:
            self._fail(DiskFull(f"cannot store the body: {error.strerror}"))
            self._wake()
            return
        with self._changed:
            was_full = self.is_full
            self._backlog -= len(data)
            self._changed.notify_all()
        if was_full and not self.is_full:
            self._wake()

    def _end(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # bytes that a full disk did not take are not needed any more
                self._file.close()


def _too_many() -> TooManyRequests:
    return TooManyRequests(
        "too many request bodies at once: try again later, or send fewer in parallel",
        retry_after_s=RETRY_AFTER_S,
    )
