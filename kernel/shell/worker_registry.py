"""The workers as the shell knows them: keys, processes and bus connections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import zmq

from kernel.core import actions
from kernel.core.events import WorkerExited
from kernel.protocol import codec, worker
from kernel.protocol.codec import Frame
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import Epoch, WorkerId
from kernel.protocol.join import FetchTerms, Join
from kernel.shell.bus import STRANGER, Gate, Router
from kernel.shell.ports import Launcher

BACK: Final = "back"
"""The ZAP domain of the workers' socket."""


@dataclass(frozen=True, slots=True)
class JoinTerms:
    """The values that every worker's ticket contains."""

    local_endpoint: str
    server_public_key: str
    file_roots: tuple[str, ...]
    is_fake: bool
    manager_pid: int
    detectors_folder: str | None = None
    fetch: FetchTerms | None = None
    """For fetch workers; None: they may only read local files."""


class WorkerRegistry:
    """Launches, addresses and forgets workers."""

    def __init__(self, back: Router, gate: Gate, launcher: Launcher, terms: JoinTerms, epoch: Epoch) -> None:
        self._back, self._gate, self._launcher = back, gate, launcher
        self._terms, self._epoch = terms, epoch
        self._roles: dict[WorkerId, WorkerRole] = {}
        self._places: dict[WorkerId, bytes] = {}
        self._by_key: dict[str, WorkerId] = {}
        """Workers of pools, by the names of their keys."""

    def role(self, worker_id: WorkerId) -> WorkerRole:
        """The role of a worker that is admitted."""
        return self._roles[worker_id]

    def seen(self, worker_id: WorkerId, place: bytes) -> None:
        """A worker sent a message from this connection; orders go there from now on."""
        self._places[worker_id] = place

    def send(self, worker_id: WorkerId, message: worker.WorkerOrder, blobs: Sequence[Frame] = ()) -> bool:
        """Send an order; False, if the worker cannot be reached (its deadlines will show it)."""
        place = self._places.get(worker_id)
        frames = codec.encode(message, epoch=self._epoch, blobs=blobs)
        return place is not None and self._back.send(place, frames)

    def launch(self, action: actions.LaunchWorker) -> WorkerExited | None:
        """Start a worker process. Returns: its exit, if it could not be started."""
        public, secret = self._admit(action.worker_id, action.role)
        is_fetch = action.role is WorkerRole.FETCH
        join = Join(
            role=action.role,
            worker_id=action.worker_id,
            endpoint=self._terms.local_endpoint,
            server_public_key=self._terms.server_public_key,
            public_key=public,
            secret_key=secret,
            token=action.token,
            file_roots=self._terms.file_roots if is_fetch else self._engine_roots,
            fetch=self._terms.fetch if is_fetch else None,
            detectors_folder=self._terms.detectors_folder,
            is_fake=self._terms.is_fake,
            manager_pid=self._terms.manager_pid,
        )
        try:
            self._launcher.launch(join, action.engine_id)
        except OSError as error:
            return WorkerExited(action.worker_id, f"could not start: {error}")
        return None

    def named(self, name: str) -> WorkerId | None:
        """The worker that the gate calls so; None: a stranger, or one that was revoked."""
        if name.startswith(STRANGER):
            return self._by_key.get(name)
        return WorkerId(name) if name in self._roles else None

    def admit(self, action: actions.AdmitWorker) -> None:
        """Know a worker of a pool by its key."""
        self._by_key[action.key] = action.worker_id
        self._roles[action.worker_id] = WorkerRole.ENGINE
        self._places[action.worker_id] = action.place

    def refuse(self, place: bytes, message: worker.Refuse) -> None:
        """Tell a stranger that it is not admitted."""
        self._back.send(place, codec.encode(message, epoch=self._epoch))

    def _admit(self, worker_id: WorkerId, role: WorkerRole) -> tuple[str, str]:
        public, secret = zmq.curve_keypair()
        self._gate.allow(BACK, public, worker_id)
        self._roles[worker_id] = role
        return public.decode(), secret.decode()

    @property
    def _engine_roots(self) -> tuple[str, ...]:
        """The folders that an engine may read: downloads too, but a person cannot register a model in
        there."""
        kept = () if self._terms.fetch is None else (self._terms.fetch.folder,)
        return (*self._terms.file_roots, *kept)

    def forget(self, worker_id: WorkerId) -> None:
        """Revoke a worker's key."""
        self._gate.revoke(BACK, worker_id)
        self._by_key = {key: known for key, known in self._by_key.items() if known != worker_id}
        self._roles.pop(worker_id, None)
        self._places.pop(worker_id, None)

    def launch_in_pool(self, action: actions.LaunchInPool) -> WorkerExited | None:
        """Have the launcher of a pool start a worker, which enrolls by itself. Returns: its exit, if none
        could be started."""
        try:
            self._launcher.launch_in(action.pool, action.worker_id, action.engine_id)
        except OSError as error:
            return WorkerExited(action.worker_id, f"could not start: {error}")
        return None

    def terminate(self, worker_id: WorkerId) -> None:
        self._launcher.terminate(worker_id)

    def kill(self, worker_id: WorkerId) -> None:
        self._launcher.kill(worker_id)
