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


@dataclass(frozen=True, slots=True)
class LaunchWaits:
    """A worker of a pool waits for capacity."""

    name: str
    reason: str
    """For a person, in the words of its scheduler."""


@dataclass(frozen=True, slots=True)
class LaunchRuns:
    """A worker of a pool has been started, and will join."""

    name: str


LaunchNews = Exited | LaunchWaits | LaunchRuns


class Launcher(Protocol):
    """Starts and ends worker processes. All methods are called from the Manager's main thread, and none
    blocks."""

    def launch(self, join: Join, engine_id: EngineId | None) -> None:
        """Start a worker that joins with this ticket, and name its engine in its log. Called once for each
        worker id.

        Raises: OSError, if it cannot be started; the Manager then takes the worker for exited.
        """

    def launch_in(self, pool: str, worker_id: WorkerId, engine_id: EngineId | None) -> None:
        """Start a worker in a pool. It joins with the pool's token, and says this id as the name of its
        launch. Called once for each id.

        Raises: OSError, if the pool has no launcher, or none can be started.
        """

    def fileno(self) -> int:
        """Readable when `poll` has something to say, besides after each SIGCHLD."""

    def poll(self) -> list[LaunchNews]:
        """What has become of the processes since the last call. Called after each SIGCHLD and when `fileno`
        is readable."""

    def terminate(self, name: WorkerId | str) -> None:
        """Ask a process to end (SIGTERM). An exited process is no error."""

    def kill(self, name: WorkerId | str) -> None:
        """End a process (SIGKILL). An exited process is no error."""
