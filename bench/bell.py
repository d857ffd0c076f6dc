"""What an engine wakes us with, where no worker is around it."""

from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.port import Emit, Outcome

_PATIENCE_S: Final = 60.0


class Bell:
    """Rung from any thread; one thread sleeps until it rings."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake whoever waits, or will."""
        self._rings.put(None)

    def wait(self) -> None:
        """Sleep until it has rung once more. Raises: queue.Empty, if it does not for a minute."""
        self._rings.get(timeout=_PATIENCE_S)

    def at(self, emit: Emit) -> Emit:
        """The same, and it rings at every outcome."""

        def emit_and_ring(outcome: Outcome) -> None:
            emit(outcome)
            self.ring()

        return emit_and_ring


def run_until(is_done: Callable[[], bool], step: Callable[[], bool], bell: Bell) -> None:
    """Step until it is done; sleep where there is no step to make."""
    while not is_done():
        if not step():
            bell.wait()


def run_out(engine_core: EngineCore, bell: Bell) -> None:
    """Step until no picture needs a step, and no job is being prepared."""
    while True:
        if engine_core.step():
            continue
        if not engine_core.is_preparing:
            return
        bell.wait()
