"""A session with a clock that a test moves: tells what happened, and answers with what the session did."""

from engine_worker.port import ImageEncoded, Mapped
from engine_worker.session.actions import Action, Exit, ExitCode, Send
from engine_worker.session.events import DeadlinePassed, Event, ImageMade, MapMade, Opened, OrderArrived
from engine_worker.session.heartbeat import Patience
from engine_worker.session.machine import Session
from kernel.protocol.enums import ControlType, WorkerRole
from kernel.protocol.ids import Epoch, ImageId, JobId
from kernel.protocol.worker import EngineReady, WorkerOrder, WorkerReport
from tests.unit.worker.orders import ENGINE_ID, ENROLL, EPOCH, WELCOME, hello, load

READY = EngineReady(engine_id=ENGINE_ID, device="cpu", memory_bytes=1, capacity=4)


class Story:
    """One worker's life."""

    def __init__(self, role: WorkerRole = WorkerRole.ENGINE, *, enrolls: bool = False) -> None:
        """`enrolls`: it is a worker of a pool."""
        self.session = Session(ENROLL if enrolls else hello(role), Patience())
        self.now = 1000.0
        self.spoken: list[tuple[float, WorkerReport]] = []
        """Everything that was ever sent, and when."""

    def tell(self, event: Event) -> list[Action]:
        actions = self.session.handle(event, self.now)
        self.spoken += [(self.now, report) for report in said(actions)]
        return actions

    def order(self, order: WorkerOrder, epoch: Epoch = EPOCH, blobs: tuple[bytes, ...] = ()) -> list[Action]:
        return self.tell(OrderArrived(epoch, order, blobs))

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass, with a DeadlinePassed whenever the session asked for one."""
        end = self.now + seconds
        actions: list[Action] = []
        while (deadline := self.session.next_deadline()) is not None and deadline <= end:
            assert deadline >= self.now, "a deadline that has passed and was not dealt with"
            self.now = deadline
            actions += self.tell(DeadlinePassed())
        self.now = end
        return actions

    def open(self) -> list[Action]:
        """The socket is open."""
        return self.tell(Opened())

    def join(self) -> "Story":
        self.open()
        self.order(WELCOME)
        return self

    def load(self) -> "Story":
        """Join, with an engine that is ready."""
        self.join().order(load())
        self.tell(READY)
        return self


def said(actions: list[Action]) -> list[WorkerReport]:
    """What was sent."""
    return [action.report for action in actions if isinstance(action, Send)]


def done(actions: list[Action]) -> list[Action]:
    """What was done beside sending."""
    return [action for action in actions if not isinstance(action, Send)]


def exit_code(actions: list[Action]) -> ExitCode | None:
    """How the session ended, if it did."""
    return next((action.exit_code for action in actions if isinstance(action, Exit)), None)


def picture(job_id: str = "job-1", index: int = 0) -> ImageMade:
    made = ImageEncoded(
        job_id=JobId(job_id),
        index=index,
        image_id=ImageId(f"{job_id}-image-{index}"),
        seed=5 + index,
        mime="image/png",
        width_px=64,
        height_px=72,
        data=b"a picture",
    )
    return ImageMade(made, "the sha256")


def control_map(job_id: str = "job-1", control_type: ControlType = ControlType.CANNY) -> MapMade:
    return MapMade(Mapped(JobId(job_id), control_type, b"a map"), "the map's sha256")
