"""Uploads on their way from the socket to the disk: the thread of the sockets only passes their bytes on.

It serves all connections, so it must neither parse a form nor wait for a disk. Each upload has a thread of
its own that does both, and a bounded backlog: while it is full, the connection is not read.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Final

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.uploads import Receiver, Uploaded
from kernel.process.log import line
from kernel.protocol.errors import SpoonError, TooManyRequests

MAX_UPLOADS: Final = 16
BACKLOG_BYTES: Final = 1 << 20
RETRY_AFTER_S: Final = 5.0

_log = logging.getLogger("spoon.api.http")


class UploadStream(BytesIO):
    """One upload. For the application it is the (empty) body of the request."""

    def __init__(self, receiver: Receiver, slots: ConcurrencyLimit, wake: Callable[[], None]) -> None:
        """`wake` is called when the connection should be checked again. Raises: TooManyRequests."""
        super().__init__()
        self.failure: SpoonError | None = None
        """Set as soon as something is wrong: then the request is to be refused."""
        self._receiver = receiver
        self._slots = slots
        self._wake = wake
        self._pieces: deque[bytes] = deque()
        self._backlog = self._size = 0
        self._is_all = self._is_dropped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)
        # Refused last: Python closes this object all the same, and since 3.13 it reports a failing close.
        if not slots.take():
            receiver.close()
            raise TooManyRequests("too many uploads at once", retry_after_s=RETRY_AFTER_S)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system cannot start another thread
            slots.give_back()
            receiver.close()
            raise TooManyRequests(f"cannot start an upload: {error}", retry_after_s=RETRY_AFTER_S) from error

    @property
    def is_full(self) -> bool:
        """True if the connection should not be read for a while."""
        return self._backlog >= BACKLOG_BYTES

    def append(self, data: bytes) -> None:
        """Add bytes, in the thread of the sockets. Never waits."""
        with self._changed:
            self._size += len(data)
            if self.failure is None and not self._is_dropped:
                self._pieces.append(data)
                self._backlog += len(data)
                self._changed.notify()

    def __len__(self) -> int:
        return self._size

    def getfile(self) -> "UploadStream":
        return self

    def finish(self) -> Uploaded:
        """All bytes have arrived: wait until they are written, and make them durable.

        Raises: as Receiver.take and Receiver.finish.
        """
        with self._changed:
            self._is_all = True
            self._changed.notify()
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        return self._receiver.finish()

    def close(self) -> None:
        """Abandon it: an unfinished upload leaves no file behind."""
        with self._changed:
            self._is_dropped = True
            self._pieces.clear()
            self._changed.notify()
        super().close()

    def join(self) -> None:
        """Wait until its thread has ended, after `close`."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                self._receiver.take(piece)
        except SpoonError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001  the outermost loop of this thread
            _log.exception(line("upload_failed"))
            self._fail(SpoonError("internal server error; see the server log"))
        finally:
            self._slots.give_back()
            if self._is_dropped or self.failure is not None:
                self._receiver.close()

    def _next(self) -> bytes | None:
        """The next piece; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._is_all or self._is_dropped)
            if not self._pieces:
                return None
            was_full = self.is_full
            piece = self._pieces.popleft()
            self._backlog -= len(piece)
            is_time = was_full and not self.is_full
        if is_time:
            self._wake()
        return piece

    def _fail(self, error: SpoonError) -> None:
        with self._changed:
            self.failure = error
            self._pieces.clear()
            self._backlog = 0
        self._wake()
