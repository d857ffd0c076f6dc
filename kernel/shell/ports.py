"""The port behind which workers run; the broker does not know where."""

from dataclasses import dataclass
from typing import Protocol

from kernel.protocol.ids import EngineId, WorkerId
from kernel.protocol.join import Join


@dataclass(frozen=True, slots=True)
class Exited:
    """A process that has exited."""

    name: str
    """A worker's id, or the name of the API process."""
    status: str
    """For a person: `exit code 1`, `signal SIGKILL`."""
    last_words: str
    exit_code: int | None = None
    """None if a signal ended it."""


class Launcher(Protocol):
    """Starts and ends worker processes. All methods are called from the Manager's main thread."""

    def launch(self, join: Join, engine_id: EngineId | None) -> None:
        """Start a worker that joins with this ticket, and name its engine in its log. Called once for each
        worker id.

        Raises: OSError, if it cannot be started; the Manager then takes the worker for exited.
        """

    def poll(self) -> list[Exited]:
        """The processes that have exited since the last call. Called after each SIGCHLD, never in a loop."""

    def terminate(self, name: WorkerId | str) -> None:
        """Ask a process to end (SIGTERM). An exited process is no error."""

    def kill(self, name: WorkerId | str) -> None:
        """End a process (SIGKILL). An exited process is no error."""
