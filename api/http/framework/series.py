"""What may take long, such as looking at a disk that does not answer: found by a thread of its own, and told
as far as it is known."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from kernel.process.log import line

Item = TypeVar("Item")

_log = logging.getLogger("api")


class Series(Generic[Item]):
    """Finds a series of things, one series at a time, in a thread of its own: what hangs holds up nobody
    else, and takes one thread. Whoever asks meanwhile gets what was found so far. Thread-safe."""

    def __init__(
        self, name: str, find: Callable[[], Iterable[Item]], broken: Callable[[Exception], Item] | None = None
    ) -> None:
        """`broken`: the last item, if an error ends the series."""
        self._name = name
        self._find = find
        self._broken = broken
        self._lock = threading.Lock()
        self._found: list[Item] = []
        self._end = threading.Event()
        self._end.set()

    def look(self, patience_s: float) -> tuple[tuple[Item, ...], bool]:
        """Begin a series, unless one goes on, and wait for it so long at most. Returns: what was found, and
        whether that is all."""
        with self._lock:
            if self._end.is_set():
                self._found, self._end = [], threading.Event()
                arguments = (self._found, self._end)
                threading.Thread(target=self._run, args=arguments, name=self._name, daemon=True).start()
            found, end = self._found, self._end
        is_complete = end.wait(patience_s)
        return tuple(found), is_complete

    def _run(self, found: list[Item], end: threading.Event) -> None:
        try:
            for one in self._find():
                found.append(one)
        except Exception as error:  # noqa: BLE001 - the outermost of this thread
            _log.exception(line("series_broke", name=self._name))
            if self._broken is not None:
                found.append(self._broken(error))
        finally:
            end.set()
