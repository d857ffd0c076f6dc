"""What came with jobs, and their control maps, as rows: as long as the job is open, and a while longer."""

from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.protocol.enums import BlobKind, ControlType, InputKind, JobState
from kernel.protocol.ids import BlobId, JobId, ModelId
from kernel.protocol.rows import BlobRow, JobRow
from kernel.protocol.specs import JobSpec
from kernel.shell.file_thread import InputToRead
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store, migrations
from tests.integration.kernel.rows import BARE_ENGINE, ENGINE, FULL_MODEL, JOB, NOW_MS, SPEC, WAITING_JOB
from tests.integration.kernel.saving import saved, snapshot

OTHER = JobId("job-2")
CANCELLED = replace(WAITING_JOB, status=JobState.CANCELLED, finished_at_ms=NOW_MS)


def blob(kind: BlobKind, job_id: JobId = JOB) -> BlobRow:
    return BlobRow(
        blob_id=BlobId(f"{job_id}-{kind}"),
        job_id=job_id,
        kind=kind,
        file_name=f"{job_id}-{kind}.png",
        mime="image/png",
        size_bytes=5,
        sha256=f"sha256 of {kind}",
        created_at_ms=NOW_MS,
    )


@pytest.fixture
def filled(store: Store) -> Store:
    """An engine with two jobs: one with two pictures and a map, one with a picture."""
    other = replace(WAITING_JOB, job_id=OTHER, seq=2)
    saved(
        store, actions.SaveEngine(BARE_ENGINE), actions.AddJob(WAITING_JOB, SPEC), actions.AddJob(other, SPEC)
    )
    kinds = (BlobKind.REFERENCE, BlobKind.POSE, BlobKind.MAP_OPENPOSE)
    saved(
        store, *(actions.AddBlob(blob(kind)) for kind in kinds), actions.AddBlob(blob(BlobKind.POSE, OTHER))
    )
    return store


def names(store: Store) -> list[str]:
    return [
        str(name) for (name,) in store.connection.execute("SELECT file_name FROM blob ORDER BY file_name")
    ]


def test_a_start_knows_what_open_jobs_have_and_not_what_ended_ones_have(
    filled: Store, state_reader: StateReader
) -> None:
    everything = frozenset({BlobKind.REFERENCE, BlobKind.POSE, BlobKind.MAP_OPENPOSE})
    assert snapshot(state_reader).stored_blobs == {JOB: everything, OTHER: frozenset({BlobKind.POSE})}
    saved(filled, actions.SaveJob(CANCELLED), actions.ExpireBlobs(JOB, NOW_MS + 1000))
    assert snapshot(state_reader).stored_blobs == {OTHER: frozenset({BlobKind.POSE})}


def test_the_files_of_a_job_are_found_in_the_order_that_is_asked_for(
    filled: Store, state_reader: StateReader
) -> None:
    wanted = (InputKind.POSE, InputKind.MASK, InputKind.REFERENCE)
    assert state_reader.input_files(JOB, wanted) == (
        InputToRead(InputKind.POSE, "job-1-pose.png", "sha256 of pose"),
        InputToRead(InputKind.MASK, None, ""),
        InputToRead(InputKind.REFERENCE, "job-1-reference.png", "sha256 of reference"),
    )


def test_blobs_are_due_when_their_time_is_over_and_never_while_their_job_is_open(
    filled: Store, state_reader: StateReader
) -> None:
    assert state_reader.blobs_due(2**62) == ()
    saved(filled, actions.ExpireBlobs(JOB, NOW_MS + 1000))
    assert state_reader.blobs_due(NOW_MS + 999) == ()
    assert len(state_reader.blobs_due(NOW_MS + 1000)) == 3


def test_a_blob_that_is_dropped_leaves_its_file_to_the_trash(
    filled: Store, state_reader: StateReader
) -> None:
    saved(filled, actions.DropBlob(BlobId("job-1-pose"), NOW_MS))
    assert state_reader.trash(10) == ["blobs/job-1-pose.png"]
    assert names(filled) == ["job-1-map_openpose.png", "job-1-reference.png", "job-2-pose.png"]
    assert state_reader.kept_blobs() == set(names(filled))


def test_with_a_job_go_its_blobs(filled: Store, state_reader: StateReader) -> None:
    saved(filled, actions.DropJob(JOB, NOW_MS))
    assert names(filled) == ["job-2-pose.png"]
    assert len(state_reader.trash(10)) == 3


def test_with_an_engine_go_the_blobs_of_its_jobs(filled: Store, state_reader: StateReader) -> None:
    saved(filled, actions.DropEngine(ENGINE, NOW_MS))
    assert names(filled) == []
    assert len(state_reader.trash(10)) == 4


def test_a_job_has_one_blob_of_a_kind(filled: Store) -> None:
    with pytest.raises(apsw.ConstraintError):
        filled.save(actions.AddBlob(replace(blob(BlobKind.POSE), blob_id=BlobId("another"))))


@pytest.mark.parametrize("life", [(None, None), (1.5, 3)])
def test_what_a_job_says_of_its_images_and_models_comes_back(
    store: Store, state_reader: StateReader, life: tuple[float | None, int | None]
) -> None:
    expire_after_s, downloads = life
    spec = JobSpec(
        prompt="",
        negative_prompt="",
        seed=0,
        count=1,
        steps=1,
        guidance_scale=1.0,
        width_px=64,
        height_px=64,
        scheduler=SPEC.scheduler,
        expire_after_s=expire_after_s,
        delete_after_downloads=downloads,
    )
    models = (ModelId("lora"), ModelId("vae"))
    row = replace(WAITING_JOB, expire_after_s=expire_after_s, delete_after_downloads=downloads, models=models)
    saved(store, actions.AddJob(row, spec))
    (found,) = snapshot(state_reader).open_jobs
    assert found == row


def test_the_maps_that_a_controlnet_takes_come_back(store: Store, state_reader: StateReader) -> None:
    row = replace(FULL_MODEL, control_type=ControlType.CANNY)
    saved(store, actions.SaveModel(row))
    assert snapshot(state_reader).models == (row,)


# A database of the version before.

OLD_SPEC = (
    '{"prompt":"a cat","negative_prompt":"","seed":3,"count":1,"steps":20,"guidance_scale":7.0,"width_px":64,'
    '"height_px":64,"scheduler":"ddim","scheduler_config":{},"image_file_type":"png","quality":90}'
)


def old_database(file: Path) -> None:
    """What version 0.1 left behind: a model, an engine and a job that waits, by the first migration alone."""
    connection = apsw.Connection(str(file))
    connection.execute(migrations()[1])
    connection.pragma("user_version", 1)
    connection.execute(
        "INSERT INTO model (model_id, name, uri, status, model_type, tags, trigger_words, created_at_ms) "
        "VALUES ('m', 'net', 'file:///m', 'ready', 'controlnet', '[]', '[]', 0)"
    )
    connection.execute(
        "INSERT INTO engine (engine_id, name, spec, status, created_at_ms) "
        "VALUES ('e', NULL, '{\"checkpoint\":\"m\"}', 'closed', 0)"
    )
    connection.execute(
        "INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes, "
        "warnings, created_at_ms) VALUES (1, 'j', 'e', 'waiting', 0, ?, '[\"i\"]', 0, 0, '[]', 0)",
        (OLD_SPEC,),
    )
    connection.close()


def test_a_database_of_the_version_before_opens_and_its_jobs_are_what_they_were(database: Path) -> None:
    old_database(database)
    store = Store(database)
    state_reader = StateReader(store.connection)
    found = snapshot(state_reader)
    (job,) = found.open_jobs
    assert isinstance(job, JobRow)
    assert (job.seed, job.models, job.expire_after_s, job.delete_after_downloads) == (3, (), None, None)
    spec = state_reader.job_spec(JobId("j"))
    assert spec is not None
    assert (spec.loras, spec.inputs, spec.controls, spec.previews) == ((), (), (), False)
    assert found.engines[0].spec.control_models == ()
    assert found.models[0].control_type is None
    saved(store, actions.AddBlob(blob(BlobKind.POSE, JobId("j"))))
    store.close()
