"""A bus without a Manager: it remembers what it was asked and answers what the test laid ready."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.port import Answer, answer_in
from api.session import Outcome
from kernel.protocol.client import ApiAsk, BrokerReply, JobAccepted
from kernel.protocol.enums import Phase, WaitsFor
from kernel.protocol.errors import ManagerUnreachable, SpoonError
from kernel.protocol.ids import EngineId, ImageId, JobId
from kernel.protocol.status import DeviceStatus, Status
from tests.unit.views.database import SPEC

Reaction = BrokerReply | SpoonError | Callable[[ApiAsk], BrokerReply | SpoonError]

STATUS = Status(
    version="0",
    pid=1,
    phase=Phase.RUNNING,
    uptime_s=1.0,
    jobs_waiting=0,
    jobs_processing=0,
    engines_running=0,
    is_disk_low=False,
    devices=(
        DeviceStatus(
            device="cpu", name="CPU", total_bytes=8, free_bytes=4, promised_bytes=2, available_bytes=1
        ),
    ),
)


@dataclass(frozen=True)
class FakeFigures:
    asked: int = 3
    resent: int = 2
    given_up: int = 1
    unanswered: int = 0


def accepted(job_id: str = "j1", *image_ids: str, created_at_ms: int = 1) -> JobAccepted:
    """The reply for a job that is next in the queue of the engine e1."""
    return JobAccepted(
        job_id=JobId(job_id),
        image_ids=tuple(map(ImageId, image_ids or ("i1",))),
        created_at_ms=created_at_ms,
        engine_id=EngineId("e1"),
        jobs_ahead=0,
        waits_for=WaitsFor.TURN,
        spec=SPEC,
    )


class FakeBus:
    """Implements BusPort. Without a reaction for an ask, the Manager is unreachable."""

    def __init__(self) -> None:
        self.asked: list[ApiAsk] = []
        self.keys: list[str | None] = []
        self.blobs: list[tuple[bytes, ...]] = []
        self.told: list[ApiAsk] = []
        self.reactions: dict[type[ApiAsk], Reaction] = {}
        self.status_answer: Status | SpoonError = STATUS

    def ask(
        self, ask: ApiAsk, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        return answer_in(self._answer(ask, key, blobs), expected)

    def ask_later(self, ask: ApiAsk, key: str | None, then: Callable[[Outcome], None]) -> None:
        """Answers at once, in the thread that asks."""
        then(self._answer(ask, key))

    def flush(self) -> None:
        pass

    def tell(self, ask: ApiAsk) -> None:
        self.told.append(ask)

    def _answer(self, ask: ApiAsk, key: str | None, blobs: Sequence[bytes] = ()) -> Outcome:
        self.asked.append(ask)
        self.keys.append(key)
        self.blobs.append(tuple(blobs))
        reaction = self.reactions.get(type(ask), ManagerUnreachable())
        return reaction(ask) if callable(reaction) else reaction

    def status(self, timeout_s: float) -> Status:
        if isinstance(self.status_answer, SpoonError):
            raise self.status_answer
        return self.status_answer

    def figures(self) -> FakeFigures:
        return FakeFigures()
