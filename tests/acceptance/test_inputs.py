"""Jobs that come with pictures, on a whole server: every byte arrives, survives, and goes when it should."""

import hashlib
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from kernel.protocol.client import (
    Bundle,
    Changed,
    CreateEngine,
    DeleteJob,
    Done,
    EngineAccepted,
    JobAccepted,
    JobPreview,
    JobProgress,
    JobValid,
    ModelAccepted,
    RegisterModel,
    SubmitJob,
)
from kernel.protocol.enums import BlobKind, ControlType, InputKind, JobState, ModelType, Stage
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.specs import EngineSpec
from kernel.protocol.uuid7 import Uuid7
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import echo_of, with_pictures, write_controlnet
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server

PAIR = {InputKind.REFERENCE: os.urandom(300_000), InputKind.MASK: b"a mask"}
POSE = {InputKind.POSE: b"a pose"}


@pytest.fixture
def posing(server: Server, plain: ModelId) -> EngineId:
    """An engine with a ControlNet, whose name tells its type."""
    server.start()
    file = server.folder / "net-openpose.safetensors"
    write_controlnet(file)
    ask = RegisterModel(name="net", uri=file.as_uri(), model_type=ModelType.CONTROLNET)
    net = server.line.ask(ask, ModelAccepted).model_id
    server.records.wait_for_model(net)
    spec = EngineSpec(
        checkpoint=plain,
        steps=4,
        width_px=64,
        height_px=64,
        control_net=ControlType.OPENPOSE,
        control_models=(net,),
    )
    return server.line.ask(CreateEngine(spec=spec, start=False), EngineAccepted).engine_id


def test_pictures_reach_the_engine_as_they_were_sent_and_lie_beside_the_images(
    server: Server, engine: EngineId
) -> None:
    ask = with_pictures(engine, PAIR)
    accepted = server.line.ask(ask, JobAccepted, "the key", tuple(PAIR.values()))
    job = server.records.wait_for_job(accepted.job_id)
    assert (job.status, job.warnings) == (JobState.FINISHED, echo_of(PAIR))
    assert server.line.ask(ask, JobAccepted, "the key", tuple(PAIR.values())) == accepted
    files = {blob.kind: (server.blobs / blob.file_name).read_bytes() for blob in server.records.blobs()}
    assert files == {BlobKind.REFERENCE: PAIR[InputKind.REFERENCE], BlobKind.MASK: b"a mask"}
    assert_whole(server)

    server.line.ask(DeleteJob(job_id=job.job_id), Done)
    wait_for("the files to go", lambda: len(list(server.blobs.iterdir())) == 1)
    assert_whole(server)


def test_control_maps_are_kept_and_previews_shown(server: Server, posing: EngineId) -> None:
    watcher = server.new_line()
    watcher.watch()
    ask = with_pictures(posing, POSE, "[echo] [slow 400ms]")
    ask = replace(ask, request=replace(ask.request, previews=True))
    accepted = server.line.ask(ask, JobAccepted, blobs=tuple(POSE.values()))
    shown: list[tuple[JobPreview, bytes]] = []
    stages: set[Stage] = set()
    while (received := watcher.hear(PATIENCE_S)) is not None:
        assert not isinstance(received.body, Bundle), "nobody asked for bundles"
        match received.body:
            case JobPreview() as preview:
                shown.append((preview, bytes(received.blobs[0])))
            case JobProgress(stage=stage):
                stages.add(stage)
            case Changed(id=accepted.job_id, state=JobState.FINISHED):
                break
    assert {preview.job_id for preview, _ in shown} == {accepted.job_id}
    assert [preview.step for preview, _ in shown] == sorted({preview.step for preview, _ in shown})
    assert all(data.startswith(b"\xff\xd8") for _, data in shown)
    assert stages == {Stage.DENOISING}
    job = server.records.job(accepted.job_id)
    assert job.warnings == (*echo_of(POSE), "controlnet net")
    (drawn,) = (blob for blob in server.records.blobs() if blob.kind is BlobKind.MAP_OPENPOSE)
    data = (server.blobs / drawn.file_name).read_bytes()
    assert data.startswith(b"\x89PNG")
    assert hashlib.sha256(data).hexdigest() == drawn.sha256
    assert_whole(server)


def test_a_job_keeps_its_pictures_when_the_manager_dies_before_it_is_made(
    server: Server, engine: EngineId, go: Path
) -> None:
    first = with_pictures(engine, PAIR, f"[echo] [until {go}]")
    waiting = [server.line.ask(first, JobAccepted, blobs=tuple(PAIR.values())) for _ in range(3)]
    server.records.wait_for_job(waiting[0].job_id, JobState.PROCESSING)
    server.kill()
    orphans = [server.blobs / f"{Uuid7().text()}.png", server.blobs / f"{Uuid7().text()}.jpg.part"]
    for orphan in orphans:
        orphan.write_bytes(b"of a job that nobody was told of")
    go.touch()
    server.start()
    for accepted in waiting:
        job = server.records.wait_for_job(accepted.job_id)
        assert (job.status, job.warnings) == (JobState.FINISHED, echo_of(PAIR))
    assert not any(orphan.exists() for orphan in orphans)
    assert_whole(server)


def test_a_disk_that_takes_no_pictures_refuses_the_job_and_leaves_nothing_until_it_is_well(
    server: Server, engine: EngineId
) -> None:
    away = server.blobs.with_name("away")
    server.blobs.rename(away)
    ask, blobs = with_pictures(engine, PAIR), tuple(PAIR.values())
    assert server.line.refusal(ask, "the key", blobs) == "disk_full"
    assert server.records.jobs() == []
    away.rename(server.blobs)
    accepted = server.line.ask(ask, JobAccepted, "the key", blobs)
    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED
    assert_whole(server)


def test_what_is_not_what_it_is_said_to_be_is_refused_and_a_check_stores_nothing(
    server: Server, engine: EngineId
) -> None:
    ask: SubmitJob = with_pictures(engine, PAIR)
    assert server.line.refusal(ask, blobs=(b"x" * 300_000, b"a mask")) == "bad_message"
    assert server.line.refusal(ask, blobs=(PAIR[InputKind.REFERENCE],)) == "invalid_field"
    assert server.line.refusal(ask, blobs=(PAIR[InputKind.REFERENCE], b"a mas")) == "invalid_field"
    server.line.ask(replace(ask, validate_only=True), JobValid, blobs=tuple(PAIR.values()))
    assert server.records.jobs() == []
    assert_whole(server)


def test_a_job_whose_picture_was_lost_fails_and_the_next_one_is_well(
    server: Server, engine: EngineId, go: Path
) -> None:
    blobs = tuple(PAIR.values())
    doomed = with_pictures(engine, PAIR, f"[until {go}]")
    jobs = [server.line.ask(doomed, JobAccepted, blobs=blobs) for _ in range(7)]
    last = {blob.kind: blob for blob in server.records.blobs() if blob.job_id == jobs[-1].job_id}
    (server.blobs / last[BlobKind.MASK].file_name).unlink()
    go.touch()
    job = server.records.wait_for_job(jobs[-1].job_id)
    assert (job.status, job.error_code) == (JobState.FAILED, "inputs_lost")
    assert job.error is not None
    assert "the mask image cannot be read" in job.error
    again = server.line.ask(with_pictures(engine, PAIR), JobAccepted, blobs=blobs)
    for accepted in (*jobs[:-1], again):
        assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED
