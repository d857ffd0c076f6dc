"""Server-sent events: the database tells, the hub wakes."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import falcon.testing
import msgspec
import pytest

from api.http.compat.image_files import ImageFiles
from api.http.compat.openai.image_stream import ImageStreams
from api.http.contract.caller import ANYBODY, CALLER, Caller
from api.http.contract.errors import TooManyStreams
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.deferral import Part
from api.http.framework.sse import PAUSE, RETRY, Stream
from api.http.resources.events import EVENTS, Events
from api.http.resources.job_events import JOB_EVENTS, JobEvents
from api.session import Preview
from kernel.protocol.client import Changed, EngineProgress, JobProgress, ModelProgress
from kernel.protocol.enums import ChangeKind, Role
from kernel.protocol.ids import EngineId, EventSeq, JobId, KeyId, ModelId
from kernel.protocol.rows import KeyRow
from kernel.views.jobs import find_job
from kernel.views.rows import JobRow
from tests.unit.api.stage import Stage

REQUEST = falcon.testing.create_req()
REQUEST.env[CALLER] = ANYBODY


def events_of(text: str) -> list[tuple[str, Any, int | None]]:
    """(event, data, id) of each event of a stream that has ended."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "event" in lines:
            number = int(lines["id"]) if "id" in lines else None
            found.append((lines["event"], msgspec.json.decode(lines["data"]), number))
    for event, data, _ in found:
        assert set(data) in described(event), event
    return found


def described(event: str) -> list[set[str]]:
    """The fields of an event of this name, in each stream whose description has it."""
    kinds = [stream.data[event] for stream in (JOB_EVENTS, EVENTS) if event in stream.data]
    return [set(kind.__struct_fields__) for kind in kinds]


@pytest.fixture
def a_finished_job(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="finished", finished_at_ms=9_000)
    stage.database.add_image("i1", "j1")
    for seq, (kind, thing_id, state) in enumerate(
        [
            ("job", "j1", "waiting"),
            ("job", "j2", "waiting"),
            ("job", "j1", "processing"),
            ("image", "i1", "stored"),
            ("job", "j1", "finished"),
        ],
        start=1,
    ):
        stage.database.add_event(seq, kind, thing_id, state)


@pytest.mark.usefixtures("a_finished_job")
def test_a_stream_tells_a_jobs_story_and_ends_with_it(stage: Stage) -> None:
    result = stage.get("/v1/jobs/j1/events")
    assert result.headers["content-type"] == "text/event-stream"
    told = events_of(result.text)
    assert [(event, number) for event, _, number in told] == [
        ("state", 1),
        ("state", 3),
        ("image", 4),
        ("state", 5),
    ]
    assert told[2][1] == {
        "job_id": "j1",
        "image_id": "i1",
        "index": 0,
        "state": "stored",
        "at": "1970-01-01T00:00:05.004000Z",
        "download": "/v1/images/i1/download",
    }
    assert told[3][1]["status"] == "finished"


def test_a_failed_jobs_stream_names_the_images_that_it_has_by_their_places(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="failed", finished_at_ms=9_000, image_ids='["i1", "i2", "i3"]')
    stage.database.add_image("i2", "j1", position=1)
    for seq, event in enumerate(
        (("job", "j1", "waiting"), ("image", "i2", "stored"), ("job", "j1", "failed")), 1
    ):
        stage.database.add_event(seq, *event)
    told = [data for _, data, _ in events_of(stage.get("/v1/jobs/j1/events").text)]
    assert (told[1]["image_id"], told[1]["index"]) == ("i2", 1)
    assert told[2]["image_ids"] == ["i2"]


@pytest.mark.usefixtures("a_finished_job")
def test_a_stream_goes_on_after_the_last_event_that_was_seen(stage: Stage) -> None:
    result = stage.get("/v1/jobs/j1/events", headers={"Last-Event-ID": "3"})
    assert [number for _, _, number in events_of(result.text)] == [4, 5]


@pytest.mark.usefixtures("a_finished_job")
def test_who_has_seen_the_end_is_told_not_to_come_back(stage: Stage) -> None:
    assert stage.get("/v1/jobs/j1/events", headers={"Last-Event-ID": "5"}).status_code == 204


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_was_never_given_out_is_refused(stage: Stage, last: str) -> None:
    stage.database.add_job(1, "j1")
    result = stage.get("/v1/jobs/j1/events", headers={"Last-Event-ID": last})
    assert (result.status_code, result.json["fields"][0]["field"]) == (422, "Last-Event-ID")


def test_when_the_story_is_forgotten_its_end_is_told(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="failed", finished_at_ms=9_000, error_code="error", error="why")
    stage.database.add_event(50, "job", "j2", "waiting")
    told = events_of(stage.get("/v1/jobs/j1/events").text)
    assert [(event, number) for event, _, number in told] == [("state", 50)]
    assert told[0][1]["error"] == {"code": "error", "detail": "why"}


def test_a_stream_of_no_job_is_not_found(stage: Stage) -> None:
    assert stage.get("/v1/jobs/j9/events").status_code == 404


def row_of(stage: Stage) -> JobRow:
    row = find_job(stage.reader, JobId("j1"))
    assert row is not None
    return row


class Opened:
    """A stream that is still open, read frame by frame."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._frames: deque[bytes] = deque()
        self._is_over = False

    def next(self) -> Any:
        if not self._frames and not self._is_over:
            part = self.stream.take()
            self._is_over = part.is_last
            self._frames.extend(frame + b"\n\n" for frame in part.data.split(b"\n\n")[:-1])
        if self._is_over and not self._frames:
            raise StopIteration
        frame = self._frames.popleft()
        found = events_of(frame.decode())
        return found[0] if found else frame

    def rest(self) -> Iterator[Any]:
        """All frames until the stream ends."""
        while True:
            try:
                yield self.next()
            except StopIteration:
                return


@pytest.fixture
def slots() -> ConcurrencyLimit:
    return ConcurrencyLimit(1)


@pytest.fixture
def job_stream(stage: Stage, slots: ConcurrencyLimit) -> Iterator[Opened]:
    stage.database.add_job(1, "j1")
    stage.database.add_event(1, "job", "j1", "waiting")
    events = JobEvents(stage.reader, stage.hub, slots)
    opened = Opened(events.open(REQUEST, row_of(stage), None))
    assert opened.next() == RETRY
    yield opened
    opened.stream.drop()


def test_an_open_stream_tells_what_happens_until_the_end(stage: Stage, job_stream: Opened) -> None:
    assert job_stream.next()[2] == 1
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=1, steps=4))
    progress = {"job_id": "j1", "stage": "denoising", "step": 1, "steps": 4, "fraction": 0.25, "eta_s": None}
    assert job_stream.next() == ("progress", progress, None)
    stage.database.set("job", "job_id", "j1", status="cancelled", finished_at_ms=9)
    stage.database.add_event(2, "job", "j1", "cancelled")
    stage.hub.publish(Changed(seq=EventSeq(2), kind=ChangeKind.JOB, id="j1", state="cancelled", at_ms=1))
    assert job_stream.next()[2] == 2
    with pytest.raises(StopIteration):
        job_stream.next()


def test_who_follows_a_waiting_job_is_told_once_that_its_engine_has_failed(
    stage: Stage, job_stream: Opened
) -> None:
    stage.database.add_engine("e1", status="starting")
    job_stream.next()
    stage.database.set(
        "engine", "engine_id", "e1", status="error", error_code="model_unreadable", error="it is damaged"
    )
    stage.hub.tell_to_reread()
    kind, data, number = job_stream.next()
    assert (kind, data["waits_for"], data["error"]["code"], number) == (
        "waiting",
        "repair",
        "model_unreadable",
        None,
    )
    stage.hub.tell_to_reread()
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=1, steps=4))
    assert job_stream.next()[0] == "progress"
    stage.database.set("engine", "engine_id", "e1", status="starting")
    stage.hub.tell_to_reread()
    assert job_stream.next()[1]["waits_for"] == "engine"


def test_a_preview_is_a_picture_that_a_page_can_show(stage: Stage, job_stream: Opened) -> None:
    job_stream.next()
    stage.hub.publish(Preview(JobId("j1"), index=1, step=3, data=b"\xff\xd8\xff"))
    data = {"job_id": "j1", "index": 1, "step": 3, "data_url": "data:image/jpeg;base64,/9j/"}
    assert job_stream.next() == ("preview", data, None)


def test_a_slow_client_gets_the_newest_preview_of_each_picture(stage: Stage, job_stream: Opened) -> None:
    job_stream.next()
    for step in range(5_000):
        stage.hub.publish(Preview(JobId("j1"), index=step % 2, step=step, data=b"x"))
    told = [job_stream.next()[1] for _ in range(2)]
    assert [(one["index"], one["step"]) for one in told] == [(0, 4_998), (1, 4_999)]
    stage.hub.close()
    with pytest.raises(StopIteration):
        job_stream.next()


def test_a_deleted_job_ends_its_stream(stage: Stage, job_stream: Opened) -> None:
    job_stream.next()
    stage.database.connection.execute("DELETE FROM job")
    stage.hub.tell_to_reread()
    with pytest.raises(StopIteration):
        job_stream.next()


def test_a_stopping_server_ends_the_stream(stage: Stage, job_stream: Opened) -> None:
    job_stream.next()
    stage.hub.close()
    with pytest.raises(StopIteration):
        job_stream.next()


def test_a_database_that_fails_ends_the_stream(stage: Stage, job_stream: Opened) -> None:
    job_stream.next()
    stage.database.connection.execute("DROP TABLE event")
    stage.hub.tell_to_reread()
    with pytest.raises(StopIteration):
        job_stream.next()


def test_a_closed_stream_gives_its_slot_back_once(slots: ConcurrencyLimit, job_stream: Opened) -> None:
    assert slots.taken == 1
    job_stream.stream.drop()
    job_stream.stream.drop()
    assert slots.taken == 0


def test_when_all_slots_are_taken_polling_is_advised(
    stage: Stage, slots: ConcurrencyLimit, job_stream: Opened
) -> None:
    events = JobEvents(stage.reader, stage.hub, slots)
    with pytest.raises(TooManyStreams, match="poll instead"):
        events.open(REQUEST, row_of(stage), None)


@pytest.fixture
def stream_of_everything(stage: Stage, slots: ConcurrencyLimit) -> Iterator[Opened]:
    stage.database.add_event(7, "engine", "e1", "ready")
    opened = Opened(Events(stage.reader, stage.hub, slots).open(REQUEST, None))
    assert opened.next() == RETRY
    yield opened
    opened.stream.drop()


def test_the_stream_of_everything_begins_now(stage: Stage, stream_of_everything: Opened) -> None:
    stage.database.add_event(8, "model", "m1", "ready")
    stage.hub.publish(Changed(seq=EventSeq(8), kind=ChangeKind.MODEL, id="m1", state="ready", at_ms=1))
    data = {"kind": "model", "id": "m1", "state": "ready", "at": "1970-01-01T00:00:05.008000Z"}
    assert stream_of_everything.next() == ("model", data, 8)
    stage.hub.publish(ModelProgress(model_id=ModelId("m2"), bytes=3))
    assert stream_of_everything.next()[0] == "model_progress"
    stage.hub.publish(EngineProgress(engine_id=EngineId("e1"), bytes=3, total_bytes=9))
    data = {"engine_id": "e1", "bytes": 3, "total_bytes": 9, "bytes_per_s": None}
    assert stream_of_everything.next() == ("engine_progress", data, None)
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=1, steps=4))
    assert stream_of_everything.next()[0] == "job_progress"


def test_the_stream_of_everything_ends_with_the_server(stage: Stage, stream_of_everything: Opened) -> None:
    stage.hub.close()
    with pytest.raises(StopIteration):
        stream_of_everything.next()


@pytest.mark.parametrize("last", [2, 99])
def test_who_missed_too_much_is_told_to_start_over(stage: Stage, slots: ConcurrencyLimit, last: int) -> None:
    stage.database.add_event(7, "engine", "e1", "ready")
    opened = Opened(Events(stage.reader, stage.hub, slots).open(REQUEST, EventSeq(last)))
    opened.next()
    assert opened.next() == ("reset", {"seq": 7}, 7)
    opened.stream.drop()


def test_who_missed_little_is_told_it(stage: Stage, slots: ConcurrencyLimit) -> None:
    for seq in (7, 8, 9):
        stage.database.add_event(seq, "engine", "e1", "ready")
    opened = Opened(Events(stage.reader, stage.hub, slots).open(REQUEST, EventSeq(7)))
    opened.next()
    assert [opened.next()[2], opened.next()[2]] == [8, 9]
    opened.stream.drop()


@pytest.mark.parametrize("is_missed", [False, True])
@pytest.mark.parametrize("is_of_a_job", [False, True])
def test_a_stream_ends_when_its_key_changes_or_may_have_and_not_with_another(
    stage: Stage, is_of_a_job: bool, is_missed: bool
) -> None:
    stage.database.add_job(1, "j1", status="processing")
    slots, key_id = ConcurrencyLimit(1), KeyId("key")
    req = falcon.testing.create_req()
    req.env[CALLER] = Caller(Role.ADMIN, key_row(key_id))
    if is_of_a_job:
        opened = Opened(JobEvents(stage.reader, stage.hub, slots).open(req, row_of(stage), None))
    else:
        opened = Opened(Events(stage.reader, stage.hub, slots).open(req, None))
    assert opened.next() == RETRY
    stage.hub.publish(Changed(seq=EventSeq(1), kind=ChangeKind.KEY, id="other", state="revoked", at_ms=0))
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=1, steps=2))
    if is_missed:
        stage.hub.tell_to_reread()
    else:
        stage.hub.publish(Changed(seq=EventSeq(2), kind=ChangeKind.KEY, id=key_id, state="revoked", at_ms=0))
    frames = [*opened.rest()]
    assert any("progress" in frame[0] for frame in frames), "what came before is told"
    opened.stream.drop()


class Clock:
    """Wall and monotonic clock, in milliseconds; they are set together."""

    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms

    def now_s(self) -> float:
        return self.ms / 1_000


def test_a_stream_ends_as_soon_as_the_key_of_its_reader_expires(stage: Stage) -> None:
    clock, row = Clock(), key_row(KeyId("key"))
    reader = Caller(Role.USER, msgspec.structs.replace(row, expires_at_ms=8_500), clock.now_ms)
    left: list[bool] = []

    def frames(ear: object) -> Iterator[bytes]:
        while True:
            yield b"x"
            yield PAUSE

    stream = Stream(
        frames,  # type: ignore[arg-type]  # a generator
        lambda ring: stage.hub.subscribe(None, ring, subscriber=reader),
        lambda: left.append(True),
        left_s=reader.left_s,
        clock=clock.now_s,
    )
    assert stream.until_s == 6.0
    clock.ms = 6_000
    assert (stream.take(), stream.until_s) == (Part(b"x", False), 8.5)
    clock.ms = 8_499
    assert stream.take() == Part(b"x", False)
    clock.ms = 8_500
    assert stream.take() == Part(b"", True)
    stream.drop()
    assert left == [True]


def test_each_kind_of_stream_knows_when_its_key_expires(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="processing")
    clock, req = Clock(), falcon.testing.create_req()
    row = msgspec.structs.replace(key_row(KeyId("key")), expires_at_ms=2_000)
    req.env[CALLER] = Caller(Role.ADMIN, row, clock.now_ms)
    for number, opened in enumerate(
        (
            JobEvents(stage.reader, stage.hub, ConcurrencyLimit(1)).open(req, row_of(stage), None),
            Events(stage.reader, stage.hub, ConcurrencyLimit(1)).open(req, None),
            ImageStreams(
                stage.reader,
                stage.hub,
                ConcurrencyLimit(1),
                ImageFiles(stage.bus, stage.settings.images.folder),
            ).open(req, row_of(stage), "image_generation", 0, ()),
        )
    ):
        clock.ms = 1_000
        assert not opened.take().is_last, number
        clock.ms = 2_000
        assert opened.take().is_last, number
        opened.drop()


def key_row(key_id: KeyId) -> KeyRow:
    return KeyRow(key_id=key_id, name="me", role=Role.ADMIN, digest="", created_at_ms=0, issued_at_ms=0)
