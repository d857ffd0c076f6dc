"""The worker's half of ASB/2 as a pure state machine: events go in, actions come out.

It owns no socket, no clock and no thread, so a test plays hours of a bad connection in milliseconds. Three
rules shape it. Anything may arrive twice or late, because both sides send again what was not answered: orders
are idempotent by their lease, and reports carry the lease, by which the Manager recognizes stale ones. A
finished image is the result of minutes of work, so it is kept and sent again until the Manager says that it
is durable (`unstored_images.py`); progress and previews may be lost, so they are only limited in rate
(`throttle.py`). And a worker leaves only when nothing would be lost by it, unless it is told to leave at once
or the Manager is gone. `states.py` has the phases, `jobs.py` the rules of leases, `heartbeat.py` the times.
"""

from typing import Final, assert_never

from msgspec.structs import replace

from engine_worker.port import Completed, Dropped, Failed, Previewed, Stepped
from engine_worker.session.actions import Action, Adjust, Deliver, Exit, Inspect, Load, Scan, Send, TakePart
from engine_worker.session.events import (
    DeadlinePassed,
    EngineEvent,
    Event,
    FetchEvent,
    ImageMade,
    KeyRefused,
    LoopBroke,
    MapMade,
    Opened,
    OrderArrived,
    ScanEvent,
    ScanStopped,
    StopAsked,
)
from engine_worker.session.heartbeat import Heartbeat, Patience
from engine_worker.session.jobs import Given, HeldJobs
from engine_worker.session.states import LEAVING_PHASES, MOVES, PARTINGS, WELCOME_PHASES, Cause, Phase
from engine_worker.session.throttle import Throttle
from engine_worker.session.unstored_images import UnstoredImages
from kernel.protocol.enrollment import NotEnrolled
from kernel.protocol.enums import Stage, WorkerRole
from kernel.protocol.ids import NO_EPOCH, DeliveryId, Epoch, JobId, Lease, ModelId
from kernel.protocol.specs import EngineLoad
from kernel.protocol.worker import (
    AdjustEngine,
    CallbackEnded,
    CancelJob,
    ControlMap,
    Drain,
    EngineFailed,
    EngineProgress,
    EngineReady,
    Enroll,
    GetModelFiles,
    GetModelPart,
    Goodbye,
    HeldJob,
    Hello,
    ImageReady,
    ImageStored,
    InspectModel,
    Leave,
    LoadEngine,
    MapStored,
    ModelFailed,
    ModelFiles,
    ModelInspected,
    ModelPart,
    ModelPartRefused,
    ModelProgress,
    Ping,
    Pong,
    Preview,
    Progress,
    Refuse,
    RunJob,
    ScanEnded,
    ScanFolders,
    SendCallback,
    Welcome,
)

LifeOrder = Welcome | Refuse | Drain | Leave | Pong
WorkOrder = (
    LoadEngine
    | AdjustEngine
    | InspectModel
    | ScanFolders
    | SendCallback
    | RunJob
    | CancelJob
    | ImageStored
    | MapStored
    | ModelFiles
    | ModelPart
    | ModelPartRefused
)

_DEFAULT_PATIENCE: Final = Patience()


class Session:
    """One worker's conversation with its Manager, from Hello or Enroll to Goodbye."""

    def __init__(self, hello: Hello | Enroll, patience: Patience = _DEFAULT_PATIENCE) -> None:
        self._hello = hello
        self._role = hello.role if isinstance(hello, Hello) else WorkerRole.ENGINE
        self._enrolls = isinstance(hello, Enroll)
        self._round = 0
        self._leaves_for_good = False
        self._round_trip_ms: float | None = None
        self._loading: EngineLoad | None = None
        self._patience = patience
        self._phase = Phase.NEW
        self._epoch = NO_EPOCH
        self._heartbeat = Heartbeat(patience, 0.0)
        self._jobs = HeldJobs()
        self._images = UnstoredImages(patience.resend_s)
        self._pace = Throttle(patience.progress_every_s)
        self._previews = Throttle(patience.preview_every_s)
        self._engine: LoadEngine | EngineReady | EngineFailed | None = None
        self._models: set[ModelId] = set()
        self._scan: ScanFolders | None = None
        self._callbacks: set[DeliveryId] = set()

    @property
    def epoch(self) -> Epoch:
        """The epoch in the header of every message."""
        return self._epoch

    @property
    def phase(self) -> Phase:
        """The session's phase."""
        return self._phase

    def handle(self, event: Event, now: float) -> list[Action]:
        """The actions for this event, in order. Units: `now` in monotonic seconds."""
        if self._phase is Phase.LEFT:
            return []
        actions = self._decide(event, now)
        if self._phase in LEAVING_PHASES and self._is_empty():
            actions += self._move(Cause.DRAINED if self._leaves_for_good else Cause.EMPTIED)
        if self._phase is Phase.JOINING and self._enrolls:
            actions = [one for one in actions if not isinstance(one, Send) or isinstance(one.report, Enroll)]
        if any(isinstance(action, Send) for action in actions):
            self._heartbeat.sent(now)
        return actions

    def next_deadline(self) -> float | None:
        """When DeadlinePassed is due, if nothing happens before; None for never."""
        if self._phase in (Phase.NEW, Phase.LEFT):
            return None
        own = (self._heartbeat.ask_at(), self._heartbeat.gone_at())
        sources = (self._pace, self._previews, self._images)
        optional = [source.next_deadline() for source in sources]
        return min([*own, *(time for time in optional if time is not None)])

    def _is_empty(self) -> bool:
        """A scan is not waited for: the Manager asks for it again."""
        return not (self._jobs or self._images or self._models or self._callbacks)

    def _decide(self, event: Event, now: float) -> list[Action]:
        match event:
            case OrderArrived():
                return self._on_order(event, now)
            case Opened():
                return [*self._move(Cause.OPENED), self._open(now)]
            case KeyRefused():
                return self._move(Cause.REFUSED)
            case StopAsked():
                return self._move(Cause.STOP_ASKED)
            case LoopBroke():
                return self._move(Cause.BROKE)
            case DeadlinePassed():
                return self._on_deadline(now)
            case GetModelFiles() | GetModelPart():
                return [Send(event)] if self._phase in WELCOME_PHASES else []
            case _:
                return self._on_work(event, now)

    def _open(self, now: float) -> Send:
        """Say hello for the first time, or after the Manager was lost."""
        self._heartbeat = Heartbeat(self._patience, now, is_patient=self._enrolls)
        return Send(self._opening())

    def _opening(self) -> Hello | Enroll:
        if isinstance(self._hello, Hello):
            return self._hello
        claims = self._claims()
        return replace(
            self._hello,
            round=self._round,
            load=self._loading,
            ready=self._engine if isinstance(self._engine, EngineReady) else None,
            jobs=tuple(HeldJob(job_id=job_id, lease=lease) for job_id, lease in claims.items()),
        )

    def _claims(self) -> dict[JobId, Lease]:
        return self._images.claims() | self._jobs.claims()

    def _lose(self, now: float) -> list[Action]:
        """The Manager is gone, or knows this worker no more: enroll again, with all that it holds."""
        if Cause.LOST not in MOVES[self._phase]:
            return self._move(Cause.SILENCE)
        self._round += 1
        return [*self._move(Cause.LOST), self._open(now)]

    def _resume(self, now: float) -> list[Action]:
        """Say again what may not have arrived; the Manager has an order for what it does not want."""
        engine = [Send(self._engine)] if isinstance(self._engine, EngineReady | EngineFailed) else []
        return [*engine, *self._images.send_all(now), *self._jobs.ends_of(self._claims())]

    def _move(self, cause: Cause, detail: str | None = None) -> list[Action]:
        """Move along the table; a cause without a move in this phase changes nothing."""
        was, is_now = self._phase, MOVES[self._phase].get(cause)
        if is_now is None:
            return []
        self._phase = is_now
        if is_now is not Phase.LEFT:
            return []
        parting = PARTINGS[cause]
        end = Exit(parting.exit_code, detail or parting.reason, parting.linger_s, parting.close_s)
        if parting.says_goodbye and was in WELCOME_PHASES:
            return [Send(Goodbye(reason=parting.reason)), end]
        return [end]

    # Messages of the Manager.

    def _on_order(self, event: OrderArrived, now: float) -> list[Action]:
        order = event.order
        if self._phase is Phase.JOINING:
            return self._on_answer(order, now) if isinstance(order, Welcome | Refuse | Leave) else []
        if self._phase not in WELCOME_PHASES:
            return []
        if self._enrolls and event.epoch > self._epoch:
            return self._lose(now)
        if event.epoch != self._epoch:
            return []
        self._heartbeat.heard(now)
        if isinstance(order, LifeOrder):
            return self._on_life_order(order, now)
        return self._on_work_order(order, event.blobs)

    def _on_answer(self, answer: Welcome | Refuse | Leave, now: float) -> list[Action]:
        if isinstance(answer, Leave):
            return self._move(Cause.LEAVE_ORDERED)
        if isinstance(answer, Refuse):
            return self._on_refusal(answer)
        self._epoch = answer.epoch
        self._heartbeat.welcomed(answer)
        self._heartbeat.heard(now)
        return [*self._move(Cause.WELCOMED), *(self._resume(now) if self._round else ())]

    def _on_refusal(self, refuse: Refuse) -> list[Action]:
        """An answer to what was said before it enrolled is no answer to that."""
        if self._enrolls and refuse.code == NotEnrolled.code:
            return []
        cause = Cause.REFUSED if refuse.retry_after_s is None else Cause.PUT_OFF
        return self._move(cause, f"refused: {refuse.code}: {refuse.text}")

    def _on_life_order(self, order: LifeOrder, now: float) -> list[Action]:
        match order:
            case Welcome():
                return []
            case Pong():
                self._round_trip_ms = self._heartbeat.answered(now)
                self._jobs.answered()
                return []
            case Refuse(code=NotEnrolled.code) if self._enrolls:
                return self._lose(now)
            case Refuse():
                return self._on_refusal(order)
            case Drain():
                self._leaves_for_good = self._leaves_for_good or order.for_good
                return self._move(Cause.DRAIN_ORDERED)
            case Leave():
                return self._move(Cause.LEAVE_ORDERED)
            case _:
                assert_never(order)

    def _on_work_order(self, order: WorkOrder, blobs: tuple[bytes, ...]) -> list[Action]:
        match order:
            case ImageStored():
                self._images.stored(order.lease, order.index)
                return []
            case MapStored():
                self._images.stored(order.lease, order.control_type)
                return []
            case CancelJob():
                return self._cancel(order)
            case LoadEngine():
                return self._load(order)
            case AdjustEngine():
                return [Adjust(order.max_batch)] if isinstance(self._engine, EngineReady) else []
            case InspectModel():
                return self._inspect(order)
            case ScanFolders():
                return self._begin_scan(order)
            case SendCallback():
                return self._deliver(order)
            case RunJob():
                return self._run(Given(order, blobs))
            case ModelFiles() | ModelPart() | ModelPartRefused():
                return [TakePart(order, *blobs[:1])]
            case _:
                assert_never(order)

    def _load(self, order: LoadEngine) -> list[Action]:
        """A worker loads one engine in its life; a repeated order is answered again."""
        if isinstance(self._engine, EngineReady | EngineFailed):
            return [Send(self._engine)] if self._engine.engine_id == order.load.engine_id else []
        if self._engine is not None or not self._takes_work(WorkerRole.ENGINE):
            return []
        self._engine, self._loading = order, order.load
        return [Load(order.load)]

    def _takes_work(self, role: WorkerRole) -> bool:
        """True if this worker may take this work. A leaving worker takes none: the Manager gives it to
        another."""
        return self._role is role and self._phase not in LEAVING_PHASES

    def _inspect(self, order: InspectModel) -> list[Action]:
        model_id = order.source.model_id
        if model_id in self._models or not self._takes_work(WorkerRole.FETCH):
            return []
        self._models.add(model_id)
        return [Inspect(order.source)]

    def _begin_scan(self, order: ScanFolders) -> list[Action]:
        """A worker makes one scan at a time: a repeated order is the one that it obeys already."""
        if self._scan is not None or not self._takes_work(WorkerRole.FETCH):
            return []
        self._scan = order
        return [Scan(order)]

    def _deliver(self, order: SendCallback) -> list[Action]:
        if order.delivery_id in self._callbacks or not self._takes_work(WorkerRole.FETCH):
            return []
        self._callbacks.add(order.delivery_id)
        return [Deliver(order)]

    def _run(self, given: Given) -> list[Action]:
        if not isinstance(self._engine, EngineReady) or not self._takes_work(WorkerRole.ENGINE):
            return []
        job_id = given.run.order.job_id
        self._images.forget(job_id, before=given.run.lease)
        actions = self._jobs.run(given)
        self._forget_dead_progress(job_id)
        return actions

    def _cancel(self, order: CancelJob) -> list[Action]:
        self._images.forget(order.job_id, before=Lease(order.lease + 1))
        actions = self._jobs.cancel(order)
        self._forget_dead_progress(order.job_id)
        return actions

    def _forget_dead_progress(self, job_id: JobId) -> None:
        if self._jobs.running_lease(job_id) is None:
            self._forget_progress(job_id)

    def _forget_progress(self, job_id: JobId) -> None:
        self._pace.forget(job_id)
        self._previews.forget(job_id)

    # Reports of the engine and the fetcher.

    def _on_work(self, event: EngineEvent | FetchEvent, now: float) -> list[Action]:
        match event:
            case EngineProgress():
                return [*self._pace.offer(event.engine_id, Send(event), is_last=False, now=now)]
            case EngineReady() | EngineFailed():
                self._pace.forget(event.engine_id)
                self._engine = event
                return [Send(event)]
            case Stepped() | Previewed() | MapMade() | ImageMade():
                return self._on_outcome(event, now)
            case Completed() | Failed() | Dropped():
                self._forget_progress(event.job_id)
                return self._jobs.end(event)
            case ModelProgress():
                is_last = event.bytes == event.total_bytes
                return [*self._pace.offer(event.model_id, Send(event), is_last=is_last, now=now)]
            case ModelInspected() | ModelFailed():
                self._pace.forget(event.model_id)
                self._models.discard(event.model_id)
                return [Send(event)]
            case CallbackEnded():
                self._callbacks.discard(event.delivery_id)
                return [Send(event)]
            case _:
                return self._on_scan(event)

    def _on_scan(self, event: ScanEvent) -> list[Action]:
        if isinstance(event, ScanEnded | ScanStopped):
            self._scan = None
        return [] if isinstance(event, ScanStopped) else [Send(event)]

    def _on_outcome(self, event: Stepped | Previewed | MapMade | ImageMade, now: float) -> list[Action]:
        """Report an outcome, if its job is still wanted; keep images and maps until they are stored."""
        job_id = event.job_id
        lease = self._jobs.running_lease(job_id)
        if lease is None:
            return []
        match event:
            case Stepped():
                is_last = event.step >= event.steps and event.stage is Stage.DENOISING
                return [*self._pace.offer(job_id, _progress(event, lease), is_last=is_last, now=now)]
            case Previewed():
                return [*self._previews.offer(job_id, _preview(event, lease), is_last=False, now=now)]
            case MapMade(made):
                self._jobs.sends_map(job_id, made.control_type)
                return [self._images.keep(_control_map(event, lease), made.data, now)]
            case ImageMade(image):
                return [self._images.keep(_image_ready(event, lease), image.data, now)]
            case _:
                assert_never(event)

    # Deadlines.

    def _on_deadline(self, now: float) -> list[Action]:
        if now >= self._heartbeat.gone_at():
            return self._move(Cause.UNANSWERED) if self._phase is Phase.JOINING else self._silent(now)
        overdue = [*self._pace.due(now), *self._previews.due(now), *self._images.due(now)]
        if now < self._heartbeat.ask_at():
            return [*overdue]
        self._heartbeat.asked(now)
        if self._phase is Phase.JOINING:
            return [*overdue, Send(self._opening())]
        self._jobs.asked()
        return [*overdue, Send(Ping(round_trip_ms=self._round_trip_ms))]

    def _silent(self, now: float) -> list[Action]:
        return self._lose(now) if self._enrolls else self._move(Cause.SILENCE)


def _progress(event: Stepped, lease: Lease) -> Send:
    """The report of a job's progress."""
    return Send(
        Progress(job_id=event.job_id, lease=lease, step=event.step, steps=event.steps, stage=event.stage)
    )


def _preview(event: Previewed, lease: Lease) -> Send:
    """The report with a preview."""
    report = Preview(job_id=event.job_id, lease=lease, index=event.index, step=event.step)
    return Send(report, event.data)


def _control_map(event: MapMade, lease: Lease) -> ControlMap:
    """The description of a control map; its file is the blob."""
    made = event.made
    return ControlMap(
        job_id=made.job_id,
        lease=lease,
        control_type=made.control_type,
        size_bytes=len(made.data),
        sha256=event.sha256,
    )


def _image_ready(event: ImageMade, lease: Lease) -> ImageReady:
    """The description of an image; its file is the blob."""
    image = event.image
    return ImageReady(
        job_id=image.job_id,
        lease=lease,
        index=image.index,
        image_id=image.image_id,
        seed=image.seed,
        mime=image.mime,
        width_px=image.width_px,
        height_px=image.height_px,
        size_bytes=len(image.data),
        sha256=event.sha256,
    )
