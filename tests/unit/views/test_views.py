"""The read-only queries, against a database made by the real migrations."""

from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest

from kernel.protocol.enums import (
    BlobKind,
    ControlType,
    EngineState,
    GoneReason,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
)
from kernel.protocol.errors import DatabaseUnusable, InvalidField
from kernel.protocol.ids import EngineId, EventSeq, ImageId, JobId, ModelId
from kernel.views.counts import count_all
from kernel.views.engines import EngineFilter, find_engine, list_engines
from kernel.views.events import events_after, events_of, known_events
from kernel.views.images import ImageFilter, find_image, list_images
from kernel.views.jobs import JobFilter, blobs_of, find_blob, find_job, jobs_ahead, list_jobs
from kernel.views.models import ModelFilter, find_model, list_models
from kernel.views.reader import MOST_IDLE, Reader
from tests.unit.views.database import SPEC, SampleDatabase

NOW_MS = 10_000


def test_a_row_comes_back_with_its_types(database: SampleDatabase, reader: Reader) -> None:
    database.add_job(7, "j7", status="failed", error_code="out_of_memory", error="no room", attempts=3)
    database.add_image("i7", "j7")
    job = find_job(reader, JobId("j7"))
    assert job is not None
    assert job.status is JobState.FAILED
    assert job.spec == SPEC
    assert job.image_ids == ("i7",)
    assert (job.error_code, job.error, job.attempts) == ("out_of_memory", "no room", 3)


@pytest.mark.parametrize("status", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_ended_early_names_only_the_images_that_it_has(
    database: SampleDatabase, reader: Reader, status: JobState
) -> None:
    for seq, state in enumerate((status, JobState.PROCESSING, status), start=1):
        database.add_job(seq, status=state, image_ids=f'["a{seq}", "b{seq}", "c{seq}"]')
    database.add_image("c1", "j1", position=2, gone_reason="deleted")
    database.add_image("a1", "j1", position=0)
    database.add_image("a2", "j2", position=0)
    expected = {"j1": ("a1", "c1"), "j2": ("a2", "b2", "c2"), "j3": ()}
    assert {row.job_id: row.image_ids for row in list_jobs(reader, JobFilter(), 9).items} == expected
    for job_id, image_ids in expected.items():
        job = find_job(reader, JobId(job_id))
        assert job is not None
        assert job.image_ids == image_ids


def test_what_is_not_there_is_none(reader: Reader) -> None:
    assert find_job(reader, JobId("none")) is None
    assert find_model(reader, ModelId("none")) is None
    assert find_engine(reader, EngineId("none")) is None
    assert find_image(reader, ImageId("none")) is None


def test_pages_lead_through_all_jobs_newest_first(database: SampleDatabase, reader: Reader) -> None:
    for seq in range(1, 8):
        database.add_job(seq)
    seen: list[str] = []
    after: str | None = None
    for _ in range(4):
        page = list_jobs(reader, JobFilter(), 2, after)
        seen += [job.job_id for job in page.items]
        after = page.next_after
    assert seen == ["j7", "j6", "j5", "j4", "j3", "j2", "j1"]
    assert after is None


def test_a_full_last_page_has_no_next(database: SampleDatabase, reader: Reader) -> None:
    database.add_job(1)
    database.add_job(2)
    assert list_jobs(reader, JobFilter(), 2).next_after is None


def test_a_page_goes_on_although_the_job_at_its_end_was_deleted(
    database: SampleDatabase, reader: Reader
) -> None:
    for seq in (1, 2, 3):
        database.add_job(seq)
    after = list_jobs(reader, JobFilter(), 2).next_after
    database.connection.execute("DELETE FROM job WHERE seq = 2")
    assert [job.job_id for job in list_jobs(reader, JobFilter(), 2, after).items] == ["j1"]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.0", "٣", "9" * 30])
def test_what_is_no_cursor_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(InvalidField) as refused:
        list_jobs(reader, JobFilter(), 2, cursor)
    assert refused.value.fields[0].field == "after"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (JobFilter(status=JobState.FINISHED), ["j4", "j2"]),
        (JobFilter(engine_id=EngineId("e2")), ["j4", "j3"]),
        (JobFilter(engine_id=EngineId("e2"), status=JobState.FINISHED), ["j4"]),
        (JobFilter(engine_id=EngineId("e9")), []),
    ],
)
def test_jobs_are_filtered(
    database: SampleDatabase, reader: Reader, wanted: JobFilter, found: list[str]
) -> None:
    database.add_job(1)
    database.add_job(2, status="finished")
    database.add_job(3, engine_id="e2")
    database.add_job(4, engine_id="e2", status="finished")
    assert [job.job_id for job in list_jobs(reader, wanted, 10).items] == found


def test_a_job_waits_behind_higher_priorities_and_older_jobs(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_job(1)
    database.add_job(2, priority=-1)
    database.add_job(3, status="processing", priority=9)
    database.add_job(4, engine_id="e2", priority=9)
    database.add_job(5)
    database.add_job(6, priority=5)
    job = find_job(reader, JobId("j5"))
    assert job is not None
    assert jobs_ahead(reader, job) == 2


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ModelFilter(), ["m3", "m2", "m1"]),
        (ModelFilter(status=ModelState.ERROR), ["m2"]),
        (ModelFilter(model_type=ModelType.LORA), ["m3"]),
        (ModelFilter(model_base=ModelBase.SDXL), ["m3"]),
        (ModelFilter(name="a model"), ["m2", "m1"]),
        (ModelFilter(tag="cats"), ["m3", "m1"]),
        (ModelFilter(search="CAT"), ["m3", "m1"]),
        (ModelFilter(search="a model"), ["m2", "m1"]),
        (ModelFilter(search="%"), []),
        (ModelFilter(tag="cat"), []),
    ],
)
def test_models_are_filtered(
    database: SampleDatabase, reader: Reader, wanted: ModelFilter, found: list[str]
) -> None:
    database.add_model("m1", tags='["cats","dogs"]')
    database.add_model("m2", status="error", error_code="model_unreadable", error="what is it?")
    database.add_model("m3", model_type="lora", model_base="sdxl", name="fur", tags='["cats"]')
    assert [model.model_id for model in list_models(reader, wanted, 10).items] == found


IDS = [f"01a22245-1c3b-7001-bee9-00000000000{number}" for number in (1, 2, 3)]


def test_models_come_in_pages(database: SampleDatabase, reader: Reader) -> None:
    for model_id in IDS:
        database.add_model(model_id)
    first = list_models(reader, ModelFilter(), 2)
    second = list_models(reader, ModelFilter(), 2, first.next_after)
    assert [model.model_id for model in (*first.items, *second.items)] == IDS[::-1]
    assert second.next_after is None


def test_an_engine_comes_with_its_open_jobs(database: SampleDatabase, reader: Reader) -> None:
    database.add_engine("e1", "portraits", status="working", device="cuda:0", memory_bytes=5)
    database.add_engine("e2")
    database.add_job(1, status="processing")
    database.add_job(2)
    database.add_job(3)
    database.add_job(4, status="finished")
    engine = find_engine(reader, EngineId("e1"))
    assert engine is not None
    assert (engine.jobs_waiting, engine.jobs_processing) == (2, 1)
    assert engine.spec.name == "portraits"
    assert [one.engine_id for one in list_engines(reader, EngineFilter(), 10).items] == ["e2", "e1"]
    assert [
        one.engine_id for one in list_engines(reader, EngineFilter(status=EngineState.WORKING), 10).items
    ] == ["e1"]
    assert [one.engine_id for one in list_engines(reader, EngineFilter(name="portraits"), 10).items] == ["e1"]
    assert len(list_engines(reader, EngineFilter(checkpoint="m1"), 10).items) == 2
    assert list_engines(reader, EngineFilter(checkpoint="m2"), 10).items == ()


def test_an_image_comes_with_the_recipe_of_its_job(database: SampleDatabase, reader: Reader) -> None:
    database.add_engine("e1")
    database.add_job(1)
    database.add_image("i1", "j1", gone_reason="used_up", gone_at_ms=9, checkpoint="m2")
    image = find_image(reader, ImageId("i1"))
    assert image is not None
    assert image.spec == SPEC
    assert image.checkpoint == "m2", "the engine has another one now"
    assert image.gone_reason is GoneReason.USED_UP


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ImageFilter(), ["i4", "i3", "i2", "i1"]),
        (ImageFilter(job_id=JobId("j1")), ["i2", "i1"]),
        (ImageFilter(job_id=JobId("j1"), engine_id=EngineId("e2")), []),
        (ImageFilter(engine_id=EngineId("e2")), ["i4"]),
        (ImageFilter(is_gone=True), ["i3", "i2"]),
        (ImageFilter(is_gone=False), ["i4", "i1"]),
    ],
)
def test_images_are_filtered(
    database: SampleDatabase, reader: Reader, wanted: ImageFilter, found: list[str]
) -> None:
    for seq in (1, 2, 3):
        database.add_job(seq)
    database.add_image("i1", "j1")
    database.add_image("i2", "j1", gone_reason="deleted", gone_at_ms=1)
    database.add_image("i3", "j2", expires_at_ms=NOW_MS)
    database.add_image("i4", "j3", engine_id="e2", expires_at_ms=NOW_MS + 1)
    page = list_images(reader, wanted, NOW_MS, 10)
    assert [image.image_id for image in page.items] == found


def test_images_come_in_pages(database: SampleDatabase, reader: Reader) -> None:
    database.add_job(1)
    for image_id in IDS:
        database.add_image(image_id, "j1")
    for wanted in (ImageFilter(), ImageFilter(engine_id=EngineId("e1")), ImageFilter(job_id=JobId("j1"))):
        first = list_images(reader, wanted, NOW_MS, 2)
        second = list_images(reader, wanted, NOW_MS, 2, first.next_after)
        assert [image.image_id for image in (*first.items, *second.items)] == IDS[::-1]


def test_changes_are_read_in_their_order(database: SampleDatabase, reader: Reader) -> None:
    database.add_event(3, "job", "j1", "waiting")
    database.add_event(4, "engine", "e1", "starting")
    database.add_event(5, "image", "i1", "stored")
    database.add_event(6, "job", "j1", "finished")
    assert [event.seq for event in events_after(reader, EventSeq(3), 2)] == [4, 5]
    assert [event.seq for event in events_of(reader, ("j1", "i1"), EventSeq(3), 10)] == [5, 6]
    known = known_events(reader)
    assert (known.first, known.last) == (3, 6)


def test_without_changes_the_known_range_is_zero(reader: Reader) -> None:
    known = known_events(reader)
    assert (known.first, known.last) == (0, 0)


def test_counts_say_how_many_are_in_each_state(database: SampleDatabase, reader: Reader) -> None:
    database.add_model("m1")
    database.add_engine("e1")
    database.add_job(1)
    database.add_job(2)
    database.add_job(3, status="failed")
    database.add_image("i1", "j1", size_bytes=30)
    database.add_image("i2", "j1", size_bytes=5, gone_reason="expired", gone_at_ms=1)
    counts = count_all(reader)
    assert counts.models == {"ready": 1}
    assert counts.engines == {"closed": 1}
    assert counts.jobs == {"failed": 1, "waiting": 2}
    assert (counts.images.count, counts.images.size_bytes) == (1, 30)


def test_a_missing_database_is_told_and_read_once_it_is_there(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "later.sqlite3")
    with pytest.raises(DatabaseUnusable):
        known_events(reader)
    database = SampleDatabase(tmp_path / "later.sqlite3")
    assert known_events(reader).last == 0
    reader.close()
    database.close()


def test_a_view_cannot_write(database: SampleDatabase, reader: Reader) -> None:
    with reader.connection() as connection, pytest.raises(apsw.ReadOnlyError):
        connection.execute("DELETE FROM job")


def test_who_reads_at_the_same_time_reads_on_a_connection_of_his_own(
    database: SampleDatabase, reader: Reader
) -> None:
    with reader.connection() as first, reader.connection() as second:
        assert first is not second
    with reader.connection() as again:
        assert again in (first, second)


def test_after_a_rush_a_few_connections_are_kept(database: SampleDatabase, reader: Reader) -> None:
    with ExitStack() as stack:
        rush = [stack.enter_context(reader.connection()) for _ in range(3 * MOST_IDLE)]
    kept = [one for one in rush if _is_open(one)]
    assert len(kept) == MOST_IDLE


def test_a_connection_on_which_a_query_failed_is_closed(database: SampleDatabase, reader: Reader) -> None:
    with pytest.raises(apsw.SQLError), reader.connection() as failed:
        failed.execute("SELECT * FROM nothing")
    assert not _is_open(failed)
    assert known_events(reader).last == 0


def _is_open(connection: apsw.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except apsw.ConnectionClosedError:
        return False
    return True


def test_a_blob_is_found_by_its_job_and_kind(database: SampleDatabase, reader: Reader) -> None:
    database.add_job(1)
    database.add_blob("j1", "pose")
    database.add_blob("j1", "map_openpose", expires_at_ms=9_000)
    found = find_blob(reader, JobId("j1"), BlobKind.MAP_OPENPOSE)
    assert found is not None
    assert (found.kind, found.file_name, found.expires_at_ms) == (
        BlobKind.MAP_OPENPOSE,
        "j1-map_openpose.png",
        9_000,
    )
    assert find_blob(reader, JobId("j1"), BlobKind.MASK) is None
    assert find_blob(reader, JobId("j2"), BlobKind.POSE) is None


def test_the_blobs_of_a_page_of_jobs_are_found_at_once(database: SampleDatabase, reader: Reader) -> None:
    for job_id, kind in (("j1", "reference"), ("j1", "mask"), ("j2", "pose"), ("j3", "pose")):
        database.add_blob(job_id, kind)
    found = blobs_of(reader, [JobId("j2"), JobId("j1"), JobId("j9")])
    kinds = {job_id: [row.kind for row in rows] for job_id, rows in found.items()}
    assert kinds == {"j1": [BlobKind.MASK, BlobKind.REFERENCE], "j2": [BlobKind.POSE]}


def test_a_controlnet_says_which_maps_it_takes(database: SampleDatabase, reader: Reader) -> None:
    database.add_model("m1", model_type="controlnet", control_type="openpose")
    database.add_model("m2", model_type="controlnet")
    rows = [find_model(reader, ModelId(model_id)) for model_id in ("m1", "m2")]
    assert [row and row.control_type for row in rows] == [ControlType.OPENPOSE, None]
