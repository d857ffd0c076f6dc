"""A whole world around the broker: workers, disk, clients and a clock, each of which can misbehave."""

from collections.abc import Callable
from enum import Enum, auto

from kernel.core import actions, due
from kernel.core.actions import Action, Effect, Save
from kernel.core.events import (
    Asked,
    DiskSwept,
    Event,
    InputsNotStored,
    InputsStored,
    InputsUnreadable,
    OutputStored,
)
from kernel.core.ports import Limits
from kernel.core.state.tables import OPEN_JOB_STATES
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, EngineState, ModelType, Phase, WorkerRole
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import BlobId, DeliveryId, EngineId, ImageId, JobId, ModelId, WorkerId
from kernel.protocol.rows import BlobRow
from kernel.protocol.worker_tokens import CreateWorkerToken, WorkerTokenIssued
from tests.property.invariants import check_action, check_refusal, check_world
from tests.property.processes import Process
from tests.property.room import before, check_closing
from tests.unit.core.samples import checkpoint, device, fingerprint, model
from tests.unit.core.story import Story, only

GIGABYTE = 1_000_000_000
FULL = (device("cpu", GIGABYTE * 5 // 4),)
"""Room for two workers of the checkpoint, which is nothing but a process."""
TIGHT = (device("cpu", GIGABYTE // 2, total=GIGABYTE * 5 // 4),)
CRAMPED = (device("cpu", 0, total=GIGABYTE * 5 // 4),)
"""Other programs have taken memory: there is room for one worker, or for none."""

LIMITS = Limits(
    max_running=3,
    turn_s=15.0,
    keep_alive_s=20.0,
    load_timeout_s=30.0,
    step_timeout_s=5.0,
    grace_s=30.0,
    delete_after_downloads=2,
)
BATCH = 2
OF_ITS_MODELS = {"model_missing", "model_not_ready", "wrong_model_type", "wrong_model_base"}
"""Why an engine cannot be started whose models were lost, or are others since."""
WITH_BLOB = wire.ImageReady | wire.ControlMap | wire.Preview
GOODBYE = wire.Goodbye(reason="it goes")
LORA = model("lora")
VAE = model("vae", ModelType.VAE)
OTHER = checkpoint(ModelId("other"))


POOL = "lab"


class Crash(Enum):
    """When the Manager dies, seen from the next event that it handles."""

    BEFORE_COMMIT = auto()
    AFTER_COMMIT = auto()


class Simulation(Story):
    """A story whose events nobody chose by hand. Every action and every state is checked."""

    def __init__(self) -> None:
        self.crash: Crash | None = None
        self.said: list[tuple[WorkerId, wire.WorkerReport]] = []
        self.commands: list[tuple[str, client.Ask]] = []
        self.tickets: list[tuple[ImageId, client.DownloadGranted]] = []
        self.seen_workers: list[tuple[int, int]] = []
        self.newest_lease = 0
        self.newest_leases: dict[JobId, int] = {}
        self.writes: list[ImageId | BlobId] = []
        self.inputs: list[actions.StoreInputs] = []
        """Pictures that came with jobs and are on their way to the disk."""
        self.files: set[str] = set()
        """What lies in the folder of blobs."""
        self.attempts: dict[DeliveryId, actions.GiveDelivery] = {}
        """Callbacks that are on their way."""
        self.processes: dict[WorkerId, Process] = {}
        self.lost: list[Process] = []
        """Workers of pools that no Manager knows."""
        self.coming: Process | None = None
        """The one that enrolls now."""
        self.joined = 0
        self.secrets: list[str] = []
        """The enrollment tokens that people have."""
        self.has_exited = False
        super().__init__(LORA, VAE, OTHER, limits=LIMITS, devices=FULL)

    def begin(self, **found: object) -> list[Action]:
        """The Manager starts. Local workers of an earlier one are gone with it, those of pools are still
        there, and are to find out."""
        for process in [p for p in self.processes.values() if not p.is_local]:
            self.lose(process)
        self.processes = {}
        self.has_process: dict[WorkerId, bool] = {}
        self.writes, self.inputs, self.has_exited = [], [], False
        self.attempts = {}
        self.files &= {row.file_name for row in self.database.blobs.values()}
        decided = super().begin(**found)
        check_world(self)
        return decided

    def tell(self, event: Event) -> list[Action]:
        crash, self.crash = self.crash, None
        then = before(self.broker.world)
        decided = self.broker.handle(event, self.now)
        check_closing(self.broker.world, event, then)
        if isinstance(event, Asked):
            check_refusal(decided)
        if crash is Crash.BEFORE_COMMIT:
            return self.begin()
        found = self._take(decided, with_effects=crash is None)
        if crash is Crash.AFTER_COMMIT or self.has_exited:
            return self.begin()
        check_world(self)
        return found

    def _take(self, found: list[Action], *, with_effects: bool = True) -> list[Action]:
        for action in found:
            check_action(self, action)
            if isinstance(action, Save):
                self.database.apply(action)
                self.files -= set(self.database.trash)
            else:
                self._count(action)
                if with_effects:
                    self._note(action)
        return found

    def _count(self, effect: Effect) -> None:
        """What must never repeat, whether or not anybody was told."""
        match effect:
            case actions.LaunchWorker(worker_id) | actions.AdmitWorker(worker_id):
                epoch, _, number = worker_id.removeprefix("w").partition("-")
                self.seen_workers.append((int(epoch), int(number)))
                self.has_process[worker_id] = isinstance(effect, actions.LaunchWorker)
            case actions.ForgetWorker(worker_id):
                del self.has_process[worker_id]
            case actions.GiveDelivery():
                self.attempts[effect.delivery_id] = effect
            case actions.GiveJob():
                self.newest_leases[effect.job_id] = self.newest_lease = effect.lease
            case _:
                pass

    def _note(self, effect: Effect) -> None:
        super()._note(effect)
        match effect:
            case actions.LaunchWorker(worker_id, role):
                self.processes[worker_id] = Process(worker_id, role, is_local=True)
            case actions.AdmitWorker(worker_id):
                assert self.coming is not None
                self._is_admitted(self.coming, worker_id)
            case actions.ForgetWorker(worker_id):
                process = self.processes.get(worker_id)
                if process is not None and not process.is_local:
                    del self.processes[worker_id]
                    self.lose(process)
            case actions.GiveJob():
                if (process := self.processes.get(effect.worker_id)) is not None:
                    process.gives[effect.job_id] = effect
            case actions.Order(worker_id, message):
                if (process := self.processes.get(worker_id)) is not None:
                    process.hears(message)
            case actions.TerminateWorker(worker_id) | actions.KillWorker(worker_id):
                if (process := self.processes.get(worker_id)) is not None:
                    process.is_asked_to_go = True
            case actions.StoreOutput(output_id) | actions.StoreAgain(output_id):
                self.writes.append(output_id)
            case actions.StoreInputs():
                self.inputs.append(effect)
            case actions.Exit():
                self.has_exited = True
            case _:
                pass

    # Workers of pools.

    def lose(self, process: Process) -> None:
        """No Manager knows it any more: it enrolls again, unless it was leaving."""
        process.round += 1
        if not process.is_asked_to_go:
            self.lost.append(process)

    def joins(self, token: str) -> None:
        """A host starts a worker."""
        self.joined += 1
        process = Process(WorkerId(""), WorkerRole.ENGINE, is_local=False, is_up=True)
        process.key, process.token = f"?{self.joined}", token
        self.lost.append(process)
        self.comes_back(process)

    def comes_back(self, process: Process) -> None:
        """It enrolls, with what it holds. One that is refused ends."""
        self.lost.remove(process)
        self.coming = process
        self.enrolls(process.token, process.key, **self._held_by(process))
        self.coming = None

    def loses_touch(self, process: Process) -> None:
        """It thinks that the Manager is gone, which it is not."""
        process.round += 1
        self.enrolls(process.token, process.key, **self._held_by(process))

    def _held_by(self, process: Process) -> dict[str, object]:
        jobs = (wire.HeldJob(job_id=g.job_id, lease=g.lease) for g in process.gives.values())
        load = None if process.loaded is None else process.loaded.load
        ready = process.ready
        return {"round": process.round, "load": load, "ready": ready, "jobs": tuple(jobs)}

    def _is_admitted(self, process: Process, worker_id: WorkerId) -> None:
        process.worker_id = worker_id
        self.processes[worker_id] = process
        if process.loaded is not None:
            self.engine_of[worker_id] = process.loaded.load.engine_id

    # What processes do.

    def comes_up(self, process: Process) -> None:
        process.is_up = True
        self.hello(process.worker_id)

    def reports(self, process: Process, report: wire.WorkerReport) -> list[Action]:
        """A worker says something, which may be repeated at any later time."""
        self.said.append((process.worker_id, report))
        return self.say(process.worker_id, report, isinstance(report, WITH_BLOB))

    def loads(self, process: Process) -> None:
        process.is_loaded = True
        engine_id = self.engine_of[process.worker_id]
        report = wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=1, capacity=BATCH)
        process.ready = report
        self.reports(process, report)

    def fails_to_load(self, process: Process, code: str = ModelUnreadable.code) -> None:
        engine_id = self.engine_of[process.worker_id]
        self.reports(process, wire.EngineFailed(engine_id=engine_id, code=code, text="bad"))

    def steps(self, process: Process, give: actions.GiveJob, step: int) -> None:
        self.reports(process, wire.Progress(job_id=give.job_id, lease=give.lease, step=step, steps=20))

    def sends_picture(self, process: Process, give: actions.GiveJob, index: int) -> None:
        report = wire.ImageReady(
            job_id=give.job_id,
            lease=give.lease,
            index=index,
            image_id=give.image_ids[index],
            seed=1,
            mime="image/png",
            width_px=64,
            height_px=64,
            size_bytes=3,
            sha256="0" * 64,
        )
        self.reports(process, report)

    def sends_map(self, process: Process, give: actions.GiveJob, control_type: ControlType) -> None:
        process.maps.setdefault(give.lease, set()).add(control_type)
        report = wire.ControlMap(
            job_id=give.job_id, lease=give.lease, control_type=control_type, size_bytes=3, sha256="1" * 64
        )
        self.reports(process, report)

    def shows_preview(self, process: Process, give: actions.GiveJob) -> None:
        self.reports(process, wire.Preview(job_id=give.job_id, lease=give.lease, index=0, step=1))

    def loses_inputs(self, process: Process, give: actions.GiveJob) -> None:
        """The order never left, since a picture that came with the job cannot be read."""
        del process.gives[give.job_id]
        event = InputsUnreadable(process.worker_id, give.job_id, give.lease, "it is gone")
        self.tell(event)

    def finishes(self, process: Process, give: actions.GiveJob) -> None:
        del process.gives[give.job_id]
        maps = tuple(sorted(process.maps.get(give.lease, ())))
        self.reports(process, wire.JobDone(job_id=give.job_id, lease=give.lease, maps=maps))

    def fails(self, process: Process, give: actions.GiveJob) -> None:
        del process.gives[give.job_id]
        self.reports(process, wire.JobFailed(job_id=give.job_id, lease=give.lease, code="oom", text="oom"))

    def drops(self, process: Process, order: wire.CancelJob) -> None:
        del process.to_drop[order.job_id]
        process.gives.pop(order.job_id, None)
        self.reports(process, wire.JobDropped(job_id=order.job_id, lease=order.lease))

    def inspects(self, process: Process, model_id: ModelId, *, is_good: bool) -> None:
        process.model_id = None
        if is_good:
            self.reports(process, wire.ModelInspected(model_id=model_id, fingerprint=fingerprint()))
        else:
            self.reports(process, wire.ModelFailed(model_id=model_id, code="bad", text="bad"))

    def answers(self, attempt: actions.GiveDelivery, status: int | None) -> None:
        """The receiver of a callback answers; None: it cannot be reached."""
        del self.attempts[attempt.delivery_id]
        process = self.processes[attempt.worker_id]
        report = wire.CallbackEnded(
            delivery_id=attempt.delivery_id, attempt=attempt.attempt, answered=status, text="no answer"
        )
        self.reports(process, report)

    def answerable(self) -> list[actions.GiveDelivery]:
        """The callbacks whose worker has come up, and is still there."""
        return [one for one in self.attempts.values() if one.worker_id in self.processes]

    def ends(self, process: Process) -> None:
        """A process is gone; of a guest's end the Manager hears nothing."""
        self.attempts = {key: one for key, one in self.attempts.items() if one.worker_id != process.worker_id}
        del self.processes[process.worker_id]
        self.pinging.discard(process.worker_id)
        if process.is_local:
            self.exits(process.worker_id)

    def says_goodbye(self, process: Process) -> None:
        self.reports(process, GOODBYE)
        if process.worker_id in self.processes:
            self.ends(process)

    def writes_picture(self, output_id: ImageId | BlobId) -> None:
        self.writes.remove(output_id)
        row = self.broker.world.pending_outputs[output_id].row
        if isinstance(row, BlobRow):
            self.files.add(row.file_name)
        self.tell(OutputStored(output_id))

    def writes_inputs(self, store: actions.StoreInputs) -> None:
        self.inputs.remove(store)
        self.files |= {file.file_name for file in store.files}
        self.tell(InputsStored(store.key))

    def cannot_write_inputs(self, store: actions.StoreInputs, *, is_damaged: bool) -> None:
        self.inputs.remove(store)
        self.tell(InputsNotStored(store.key, "no space left on device", is_damaged))

    # What clients do.

    def command(self, ask: client.Ask, key: str | None = None) -> client.BrokerReply | None:
        """A client asks, perhaps again; None, if the Manager died over it or a ticket is the answer."""
        key = key or f"key-{len(self.commands)}"
        before = self.database.replies.get(key)
        self.commands.append((key, ask))
        replies = only(self.ask_actions(ask, key), actions.Reply)
        if not replies:
            return None
        reply = replies[0].message
        assert before is None or before.reply == reply, "the same command has the same answer"
        if isinstance(ask, client.ClaimDownload) and isinstance(reply, client.DownloadGranted):
            self.tickets.append((ask.image_id, reply))
        return reply

    # A world in which everything behaves.

    def settle(self, is_done: Callable[[], bool]) -> None:
        """Let everything behave, and time pass, until a thing has come to pass."""
        for _ in range(1_000):
            if is_done():
                return
            if not self.behave():
                deadline_s = self.broker.next_deadline()
                assert deadline_s is not None
                self.wait(max(deadline_s - self.now_s, 0.0))
        raise AssertionError("the world does not settle")

    def behave(self) -> bool:
        """One thing that a good world does by itself, if there is any."""
        if self.writes:
            self.writes_picture(self.writes[0])
            return True
        if self.inputs:
            self.writes_inputs(self.inputs[0])
            return True
        if self.lost:
            self.comes_back(self.lost[0])
            return True
        if self._is_worker_wanted():
            self._let_one_join()
            return True
        if answerable := self.answerable():
            self.answers(answerable[0], 204)
            return True
        return any(self._let_work(process) for process in list(self.processes.values()))

    def _is_worker_wanted(self) -> bool:
        """True if an engine of the pool waits, and nobody has started a worker for it."""
        world = self.broker.world
        waits = any(world.engines[engine_id].pool == POOL for engine_id in world.admission_queue)
        idle = [p for p in self.processes.values() if not p.is_local and p.worker_id not in self.engine_of]
        is_coming = any(p.worker_id in world.workers and not _is_cordoned(world, p) for p in idle)
        return waits and not is_coming and world.phase is Phase.RUNNING

    def _let_one_join(self) -> None:
        self.makes_token()
        self.joins(self.secrets[-1])

    def makes_token(self, **values: object) -> None:
        """A person creates a token, and keeps it if it comes."""
        reply = self.command(CreateWorkerToken(pool=POOL, **values))
        if isinstance(reply, WorkerTokenIssued) and reply.text is not None:
            self.secrets.append(reply.text)

    def _let_work(self, process: Process) -> bool:
        if process.worker_id not in self.broker.world.workers:
            self.ends(process)
        elif not process.is_up:
            self.comes_up(process)
        elif process.to_drop:
            self.drops(process, next(iter(process.to_drop.values())))
        elif process.gives and not process.is_asked_to_go:
            give = next(iter(process.gives.values()))
            for index in give.positions:
                self.sends_picture(process, give, index)
            self.finishes(process, give)
        elif process.model_id is not None and not process.is_asked_to_go:
            self.inspects(process, process.model_id, is_good=True)
        elif process.is_asked_to_go:
            self.says_goodbye(process)
        elif not process.is_loaded and process.worker_id in self.engine_of:
            self.loads(process)
        else:
            return False
        return True

    def _cancel_jobs(self, engine_id: EngineId) -> None:
        """An engine whose models are gone, or have become others, makes nothing any more."""
        for row in list(self.database.jobs.values()):
            if row.engine_id == engine_id and row.status in OPEN_JOB_STATES:
                self.command(client.CancelJob(job_id=row.job_id))

    def close_down(self) -> None:
        """Finish every job, close every engine, and see that nothing is left behind."""
        self.crash = None
        self.devices = FULL
        self.tell(DiskSwept(free_bytes=1 << 40, devices=FULL))
        self.settle(lambda: self.broker.world.phase is Phase.RUNNING)
        self.settle(lambda: not self.broker.world.submissions)
        self.pinging |= {p.worker_id for p in self.processes.values() if p.is_up}
        for paused in (None, *self.database.engines):
            self.command(client.ResumeQueue(engine_id=paused))
        for engine_id in list(self.database.engines):
            self.command(client.StopEngine(engine_id=engine_id))
        self.settle(self._is_closed)
        for engine_id in list(self.database.engines):
            if self._has_open_jobs(engine_id):
                reply = self.command(client.StartEngine(engine_id=engine_id))
                if isinstance(reply, client.Refused):
                    assert reply.code in OF_ITS_MODELS, reply
                    self._cancel_jobs(engine_id)
                    continue
                self.settle(lambda e=engine_id: not self._has_open_jobs(e))  # type: ignore[misc]
                self.command(client.StopEngine(engine_id=engine_id))
                self.settle(self._is_closed)
        for process in [p for p in self.processes.values() if not p.is_local]:
            self.says_goodbye(process)
        self.lost = []
        self.wait(3_700.0)
        self.settle(self._is_at_rest)

    def _is_at_rest(self) -> bool:
        """Nothing is left to wait for, and no picture is on its way to the disk."""
        world = self.broker.world
        return (
            set(world.timers._when_s) == {due.Housekeeping()}
            and not world.pending_outputs
            and not world.submissions
            and not world.deliveries.rows
        )

    def _is_closed(self) -> bool:
        states = {row.status for row in self.database.engines.values()}
        return states <= {EngineState.CLOSED, EngineState.ERROR}

    def _has_open_jobs(self, engine_id: EngineId) -> bool:
        return any(
            row.engine_id == engine_id and row.status in OPEN_JOB_STATES
            for row in self.database.jobs.values()
        )


def _is_cordoned(world: World, process: Process) -> bool:
    return world.workers[process.worker_id].is_cordoned
