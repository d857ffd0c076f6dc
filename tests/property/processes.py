"""A worker's process in the simulated world, as it is; what the broker thinks of it may differ."""

from dataclasses import dataclass, field

from kernel.core import actions
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, WorkerRole
from kernel.protocol.ids import JobId, Lease, ModelId, WorkerId


@dataclass
class Process:
    """What it holds, and what it was told and has not done yet."""

    worker_id: WorkerId
    role: WorkerRole
    is_local: bool
    is_up: bool = False
    is_loaded: bool = False
    is_asked_to_go: bool = False
    gives: dict[JobId, actions.GiveJob] = field(default_factory=dict)
    to_drop: dict[JobId, wire.CancelJob] = field(default_factory=dict)
    maps: dict[Lease, set[ControlType]] = field(default_factory=dict)
    """The control maps that it sent, by lease."""
    model_id: ModelId | None = None
    loaded: wire.LoadEngine | None = None
    ready: wire.EngineReady | None = None
    max_batch: int | None = None
    key: str = ""
    """Of a worker of a pool: the name of its CURVE key."""
    token: str = ""
    round: int = 0
    """How often it has lost the Manager."""

    def hears(self, message: wire.WorkerOrder) -> None:
        """An order has arrived; what comes of it is for the rules to say."""
        match message:
            case wire.CancelJob():
                self.to_drop[message.job_id] = message
            case wire.LoadEngine():
                self.loaded = self.loaded or message  # a second one is only answered again
                self.max_batch = self.loaded.load.max_batch
            case wire.AdjustEngine(max_batch=max_batch):
                self.max_batch = max_batch
            case wire.InspectModel(source=source):
                self.model_id = source.model_id
            case wire.Refuse():
                self.is_asked_to_go = True
                self.gives.clear()
            case wire.Drain() | wire.Leave():
                self.is_asked_to_go = True
            case _:
                pass
