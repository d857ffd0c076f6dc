"""A fetch worker's main thread: one task after the other, and a scan makes way for any of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from engine_worker.fetch.fetch_loop import FetchLoop
from engine_worker.port import ProgressCallback, ScanReport
from engine_worker.session.actions import Deliver, Exit, ExitCode, Inspect, Scan
from engine_worker.session.events import FetchEvent, ScanStopped
from engine_worker.shell import Inbox
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import DeliveryId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import Fingerprint
from kernel.protocol.worker import (
    FileScanned,
    ModelFailed,
    ModelInspected,
    ScanBegun,
    ScanEnded,
    ScanFolders,
    ScanProgress,
    SendCallback,
)
from tests.unit.worker.orders import source

END = Exit(ExitCode.LEFT, "drained", 0.0, 0.0)
SCAN = Scan(ScanFolders(folders=("/models",)))
FILES = 3
BAD = "file:///models/bad.safetensors"
WHOLE: list[type[FetchEvent]] = [ScanBegun, *[ScanProgress, FileScanned] * FILES, ScanEnded]


@dataclass(frozen=True)
class FoundModel:
    fingerprint: Fingerprint
    stored: str | None = None
    revision: str | None = None
    title: str | None = None


class OneModel:
    """Fetches any model, or none."""

    def fetch(self, source: ModelSource, on_progress: ProgressCallback) -> FoundModel:
        if source.uri == BAD:
            raise ModelUnreadable("it is bad")
        return FoundModel(Fingerprint(model_type=ModelType.LORA, size_bytes=1, memory_bytes=1, parameters=1))


class ThreeFiles:
    """Scans three files. Something happens when it comes to the second one."""

    def __init__(self, happens: Callable[[], None] = lambda: None) -> None:
        self.happens = happens

    def scan(self, order: ScanFolders) -> Iterator[ScanReport]:
        yield ScanBegun(files=FILES, unknown=FILES)
        for number in range(FILES):
            yield ScanProgress(path=f"/models/{number}", stamp=number)
            if number == 1:
                self.happens()
            yield FileScanned(path=f"/models/{number}", stamp=number)
        yield ScanEnded()


class Postman:
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.orders: list[SendCallback] = []

    def send(self, order: SendCallback) -> None:
        self.orders.append(order)


def run(inbox: Inbox, scanner: ThreeFiles | None = None) -> list[FetchEvent]:
    """Everything that is reported until the loop ends."""
    reports: list[FetchEvent] = []
    loop = FetchLoop(inbox, OneModel, lambda: scanner or ThreeFiles(), Postman, reports.append)
    assert loop.run() is END
    return reports


def inbox_of(*tasks: Scan | Inspect | Deliver | Exit) -> Inbox:
    inbox: Inbox = SimpleQueue()
    for task in tasks:
        inbox.put(task)
    return inbox


class EndsAfterwards(ThreeFiles):
    """Puts the end into the inbox only after its last report was taken."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        self.inbox = inbox

    def scan(self, order: ScanFolders) -> Iterator[ScanReport]:
        yield from super().scan(order)
        self.inbox.put(END)


def test_a_scan_is_reported_to_its_end() -> None:
    inbox = inbox_of(SCAN)
    assert [type(report) for report in run(inbox, EndsAfterwards(inbox))] == WHOLE


def test_a_scan_makes_way_between_two_files() -> None:
    inbox = inbox_of(SCAN)
    found = run(inbox, ThreeFiles(lambda: inbox.put(END)))
    assert [type(report) for report in found] == [*WHOLE[:5], ScanStopped]


def test_a_task_that_waits_already_comes_before_the_first_file() -> None:
    found = run(inbox_of(SCAN, Inspect(source()), END))
    assert [type(report) for report in found] == [ScanBegun, ScanStopped, ModelInspected]


def test_a_task_that_comes_with_the_end_of_a_scan_does_not_undo_it() -> None:
    inbox = inbox_of(SCAN)
    found: list[FetchEvent] = []

    def report(event: FetchEvent) -> None:
        found.append(event)
        if isinstance(event, ScanEnded):
            inbox.put(END)

    FetchLoop(inbox, OneModel, ThreeFiles, Postman, report).run()
    assert [type(one) for one in found] == WHOLE


def test_a_model_that_cannot_be_used_is_reported_with_its_reason() -> None:
    (failed,) = run(inbox_of(Inspect(source(BAD)), END))
    assert isinstance(failed, ModelFailed)
    assert failed.text == "it is bad"


def test_callbacks_are_handed_on_without_waiting_for_an_answer() -> None:
    orders = [
        SendCallback(delivery_id=DeliveryId(name), attempt=1, url="https://a.example", headers={}, body="{}")
        for name in ("one", "two")
    ]
    postman = Postman()
    inbox = inbox_of(*map(Deliver, orders), END)
    assert FetchLoop(inbox, OneModel, ThreeFiles, lambda: postman, lambda report: None).run() is END
    assert postman.orders == orders
