"""A Manager's life told event by event: a broker, a database of dictionaries, a clock that a test moves."""

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.actions import Action, Effect, Save
from kernel.core.broker import Broker
from kernel.core.events import (
    ApiExited,
    Asked,
    DeadlinePassed,
    DeviceFact,
    EnrollAsked,
    Event,
    InputsStored,
    Now,
    OutputNotStored,
    OutputStored,
    Peer,
    Reported,
    StatusAsked,
    StopAsked,
    WorkerExited,
)
from kernel.core.ports import Limits
from kernel.protocol import client, codec
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, EngineState, JobState, WorkerRole
from kernel.protocol.errors import BadMessage
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId, WorkerId
from kernel.protocol.rows import EngineRow, JobRow, ModelRow
from kernel.protocol.status import Status
from kernel.protocol.version import VERSION
from kernel.protocol.worker_tokens import CreateWorkerToken, WorkerTokenIssued
from kernel.shell.bus import Incoming
from kernel.shell.decode import refusal
from tests.unit.core.counting_ids import CountingIds
from tests.unit.core.database import Database
from tests.unit.core.samples import checkpoint, spec, submit

Kind = TypeVar("Kind")
PEER = Peer(b"client")
CORRELATION = bytes(16)


def only(found: Sequence[Action], kind: type[Kind]) -> list[Kind]:
    """The actions of one kind, in their order."""
    return [action for action in found if isinstance(action, kind)]


def orders_to(found: Sequence[Action], worker_id: WorkerId) -> list[wire.WorkerOrder]:
    """What a worker was told."""
    return [order.message for order in only(found, actions.Order) if order.worker_id == worker_id]


DECODER = codec.admin_decoder()
"""What stands before the core: a value that its type does not allow never gets there."""


class Story:
    """Starts with one checkpoint that is ready. Workers that said hello ping by themselves."""

    def __init__(
        self, *models: ModelRow, limits: Limits | None = None, devices: tuple[DeviceFact, ...] = ()
    ) -> None:
        self.limits = limits or Limits()
        self.devices = devices
        """What the shell sees whenever it looks; nothing is known of devices without it."""
        self.absent_detectors: dict[ControlType, str] = {}
        """Detectors without their files, as the shell sees them."""
        self.id_source = CountingIds()
        self.database = Database(models={row.model_id: row for row in (checkpoint(), *models)})
        self.now_s = 1000.0
        self.tokens: dict[WorkerId, tuple[WorkerRole, str]] = {}
        self.engine_of: dict[WorkerId, EngineId] = {}
        self._commands = 0
        self.begin()

    @property
    def now(self) -> Now:
        return Now(self.now_s, int(self.now_s * 1000))

    def begin(self, **found: object) -> list[Action]:
        """Start a Manager on what the database holds, and on what else a start finds; whatever an earlier one
        had in memory is lost."""
        self.pinging: set[WorkerId] = set()
        self.newcomers: list[WorkerId] = []
        self.gives: dict[JobId, actions.GiveJob] = {}
        self.keys: dict[str, WorkerId] = {}
        """Workers of pools by the names of their keys."""
        snapshot = replace(self.database.snapshot(), devices=self.devices, **found)
        self.broker = Broker(snapshot, self.limits, self.id_source, self.now)
        return self._take(self.broker.start(self.now))

    def tell(self, event: Event) -> list[Action]:
        """Something happens; the saves that follow from it are made. Returns: all that follows from it."""
        return self._take(self.broker.handle(event, self.now))

    def _take(self, found: list[Action]) -> list[Action]:
        for action in found:
            if isinstance(action, Save):
                self.database.apply(action)
            else:
                self._note(action)
        return found

    def _note(self, effect: Effect) -> None:
        match effect:
            case actions.LaunchWorker(worker_id, role, token):
                self.tokens[worker_id] = (role, token)
                self.newcomers.append(worker_id)
            case actions.AdmitWorker():
                self.keys[effect.key] = effect.worker_id
            case actions.GiveJob():
                self.gives[effect.job_id] = effect
            case actions.Order(worker_id, wire.LoadEngine(load=load)):
                self.engine_of[worker_id] = load.engine_id
            case actions.ForgetWorker(worker_id):
                self.pinging.discard(worker_id)
                self.keys = {key: known for key, known in self.keys.items() if known != worker_id}
                self.newcomers = [other for other in self.newcomers if other != worker_id]
            case _:
                pass

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass. Every deadline on the way is met, and workers that are well have just pinged."""
        end_s = self.now_s + seconds
        found: list[Action] = []
        while (deadline_s := self.broker.next_deadline()) is not None and deadline_s <= end_s:
            self.now_s = max(self.now_s, deadline_s)
            for worker_id in sorted(self.pinging):
                self.say(worker_id, wire.Ping())
            found += self.tell(DeadlinePassed())
        self.now_s = end_s
        return found

    # Clients.

    def ask_actions(
        self,
        ask: client.Ask,
        key: str | None = None,
        digest: bytes = b"digest",
        unanswered: int = 1,
        peer: Peer = PEER,
    ) -> list[Action]:
        """A client sends a command, with the files that it describes; without a key it is a new one."""
        self._commands += 1
        key = f"command-{self._commands}" if key is None else key
        facts = self.database.facts(key, ask)
        if isinstance(ask, client.CreateEngine | client.EditEngine | client.StartEngine | client.SubmitJob):
            facts = replace(facts, devices=self.devices, absent_detectors=self.absent_detectors)
        sizes = tuple(file.size_bytes for file in ask.files) if isinstance(ask, client.SubmitJob) else ()
        frames = codec.encode(client.Command(key=key, digest=digest, ask=ask), CORRELATION)
        try:
            DECODER.decode(frames)
        except BadMessage as error:
            return [actions.Reply(peer, *refusal(Incoming(b"peer", "admin", tuple(frames)), error))]
        return self.tell(Asked(peer, CORRELATION, key, digest, ask, facts, unanswered, sizes))

    def ask(self, ask: client.Ask, key: str | None = None, digest: bytes = b"digest") -> client.BrokerReply:
        """A client sends a command. Returns: the one answer to it."""
        replies = only(self.ask_actions(ask, key, digest), actions.Reply)
        assert len(replies) == 1
        return replies[0].message

    def refusal(self, ask: client.Ask, key: str | None = None, digest: bytes = b"digest") -> client.Refused:
        """A client sends a command that cannot be done."""
        reply = self.ask(ask, key, digest)
        assert isinstance(reply, client.Refused), reply
        return reply

    def status(self) -> Status:
        """What the Manager says of itself."""
        devices = tuple(fact.status for fact in self.devices)
        asked = StatusAsked(PEER, CORRELATION, version="1", pid=1, devices=devices)
        (reply,) = only(self.tell(asked), actions.Reply)
        assert isinstance(reply.message, Status)
        return reply.message

    def engine(self, start: bool = False, **fields: object) -> EngineId:
        """Create an engine; one that is started is pinned by that."""
        reply = self.ask(client.CreateEngine(spec=spec(**fields), start=False))
        assert isinstance(reply, client.EngineAccepted), reply
        if start:
            reply = self.ask(client.StartEngine(engine_id=reply.engine_id))
            assert isinstance(reply, client.EngineAccepted), reply
        return reply.engine_id

    def created(self, **fields: object) -> EngineId:
        """Create an engine that is started with its creation."""
        reply = self.ask(client.CreateEngine(spec=spec(**fields), start=True))
        assert isinstance(reply, client.EngineAccepted), reply
        return reply.engine_id

    def submit(self, engine_id: EngineId, priority: int = 0, **fields: object) -> JobId:
        """Put a job into an engine's queue; the disk takes what comes with it."""
        found = self.ask_actions(submit(engine_id, priority, **fields))
        for store in only(found, actions.StoreInputs):
            found = self.tell(InputsStored(store.key))
        (reply,) = (reply.message for reply in only(found, actions.Reply))
        assert isinstance(reply, client.JobAccepted), reply
        return reply.job_id

    # Workers.

    def say(self, worker_id: WorkerId, report: wire.WorkerReport, has_blob: bool = False) -> list[Action]:
        """A worker reports something."""
        return self.tell(Reported(worker_id, report, has_blob))

    def hello(self, worker_id: WorkerId) -> list[Action]:
        """A worker's process has come up."""
        role, token = self.tokens[worker_id]
        hello = wire.Hello(role=role, worker_id=worker_id, token=token, version="1", pid=1, host="here")
        self.pinging.add(worker_id)
        if worker_id in self.newcomers:
            self.newcomers.remove(worker_id)
        return self.say(worker_id, hello)

    def token(self, pool: str = "lab", **values: object) -> str:
        """A person creates an enrollment token."""
        reply = self.ask(CreateWorkerToken(pool=pool, **values))
        assert isinstance(reply, WorkerTokenIssued), reply
        assert reply.text is not None
        return reply.text

    def enrolls(self, token: str, key: str = "?key", **values: object) -> list[Action]:
        """A worker of a pool says its first message, or says it again."""
        enroll = wire.Enroll(**{"token": token, "version": VERSION, "pid": 1, "host": "there", **values})
        if key in self.keys:
            return self.say(self.keys[key], enroll)
        found = self.tell(EnrollAsked(key, key.encode(), enroll))
        for admitted in only(found, actions.AdmitWorker):
            self.pinging.add(admitted.worker_id)
        return found

    def member(self, token: str, key: str = "?key", **values: object) -> WorkerId:
        """A worker that has joined a pool."""
        self.enrolls(token, key, **values)
        return self.keys[key]

    def ready(self, worker_id: WorkerId, capacity: int = 1, device: str = "cpu") -> list[Action]:
        """A worker has loaded its engine."""
        engine_id = self.engine_of[worker_id]
        return self.say(
            worker_id,
            wire.EngineReady(engine_id=engine_id, device=device, memory_bytes=1, capacity=capacity),
        )

    def up(self, capacity: int = 1) -> WorkerId:
        """The process that was launched first and has not come up yet comes up and loads its engine."""
        worker_id = self.newcomers[0]
        self.hello(worker_id)
        self.ready(worker_id, capacity)
        return worker_id

    def running_engine(self, capacity: int = 1, **fields: object) -> tuple[EngineId, WorkerId]:
        """An engine that a person started and that is ready."""
        engine_id = self.engine(start=True, **fields)
        return engine_id, self.up(capacity)

    def exits(
        self, worker_id: WorkerId, status: str = "signal SIGSEGV", last_words: str = ""
    ) -> list[Action]:
        """A worker's process ends."""
        self.pinging.discard(worker_id)
        return self.tell(WorkerExited(worker_id, status, last_words))

    # Jobs, as the worker that was given them last sees them.

    def accepted(self, job_id: JobId) -> list[Action]:
        give = self.gives[job_id]
        return self.say(give.worker_id, wire.Accepted(job_id=job_id, lease=give.lease))

    def progress(self, job_id: JobId, step: int, steps: int = 20) -> list[Action]:
        give = self.gives[job_id]
        return self.say(
            give.worker_id, wire.Progress(job_id=job_id, lease=give.lease, step=step, steps=steps)
        )

    def picture(self, job_id: JobId, index: int = 0, give: actions.GiveJob | None = None) -> list[Action]:
        """The worker sends a picture."""
        give = give or self.gives[job_id]
        report = wire.ImageReady(
            job_id=job_id,
            lease=give.lease,
            index=index,
            image_id=give.image_ids[index],
            seed=index,
            mime="image/png",
            width_px=64,
            height_px=64,
            size_bytes=3,
            sha256="0" * 64,
        )
        return self.say(give.worker_id, report, has_blob=True)

    def map(self, job_id: JobId, control_type: ControlType) -> list[Action]:
        """The worker sends a control map."""
        give = self.gives[job_id]
        report = wire.ControlMap(
            job_id=job_id, lease=give.lease, control_type=control_type, size_bytes=3, sha256="1" * 64
        )
        return self.say(give.worker_id, report, has_blob=True)

    def stored(self, job_id: JobId, index: int = 0) -> list[Action]:
        """The file of a picture is on the disk."""
        return self.tell(OutputStored(self.image_id(job_id, index)))

    def not_stored(self, job_id: JobId, index: int = 0) -> list[Action]:
        """The file of a picture could not be written."""
        return self.tell(OutputNotStored(self.image_id(job_id, index), "no space left on device"))

    def done(
        self, job_id: JobId, warnings: tuple[str, ...] = (), maps: tuple[ControlType, ...] = ()
    ) -> list[Action]:
        give = self.gives[job_id]
        report = wire.JobDone(job_id=job_id, lease=give.lease, warnings=warnings, maps=maps)
        return self.say(give.worker_id, report)

    def failed(self, job_id: JobId, code: str = "out_of_memory") -> list[Action]:
        give = self.gives[job_id]
        report = wire.JobFailed(job_id=job_id, lease=give.lease, code=code, text="it cannot be made")
        return self.say(give.worker_id, report)

    def dropped(self, job_id: JobId, give: actions.GiveJob | None = None) -> list[Action]:
        give = give or self.gives[job_id]
        return self.say(give.worker_id, wire.JobDropped(job_id=job_id, lease=give.lease))

    def make(self, job_id: JobId) -> list[Action]:
        """A worker makes all that is missing of a job."""
        found: list[Action] = []
        for index in self.gives[job_id].positions:
            found += self.picture(job_id, index) + self.stored(job_id, index)
        return found + self.done(job_id)

    # What there is.

    def image_id(self, job_id: JobId, index: int = 0) -> ImageId:
        return self.database.jobs[job_id].image_ids[index]

    def job(self, job_id: JobId) -> JobRow:
        return self.database.jobs[job_id]

    def job_state(self, job_id: JobId) -> JobState:
        return self.database.jobs[job_id].status

    def engine_row(self, engine_id: EngineId) -> EngineRow:
        return self.database.engines[engine_id]

    def engine_state(self, engine_id: EngineId) -> EngineState:
        return self.database.engines[engine_id].status

    def model(self, model_id: ModelId) -> ModelRow:
        return self.database.models[model_id]

    # The Manager's own life.

    def stop(self, is_now: bool = False) -> list[Action]:
        """A signal asks the Manager to stop."""
        return self.ask_actions(client.Shutdown(now=True)) if is_now else self.tell(StopAsked())

    def api_exits(self, exit_code: int = 1) -> list[Action]:
        return self.tell(ApiExited(f"exit code {exit_code}", exit_code))
