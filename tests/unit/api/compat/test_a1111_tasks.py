"""Progress, interruption and options are those of the client that asks, and of nobody else."""

from typing import Any

import msgspec
import pytest

from api.session import Preview
from kernel.protocol.client import CancelJob, Changed, Done, JobProgress, SubmitJob
from kernel.protocol.enums import ChangeKind, JobState
from kernel.protocol.ids import EventSeq, JobId
from tests.unit.api.compat.a1111_stage import (
    TEXTS,
    add_checkpoint,
    add_image,
    begin,
    command_of,
    let_jobs_end,
    let_jobs_wait,
    refusal_of,
    resume,
    submitted,
    warnings_of,
)
from tests.unit.api.stage import Stage

PROGRESS = "/sdapi/v1/progress"
OPTIONS = "/sdapi/v1/options"
ANNA, BEN = {"remote_addr": "10.0.0.1"}, {"remote_addr": "10.0.0.2"}


@pytest.fixture(autouse=True)
def checkpoint(stage: Stage) -> None:
    add_checkpoint(stage)
    stage.bus.reactions[CancelJob] = Done()


def cancelled(stage: Stage) -> list[str]:
    return [one.job_id for one in stage.bus.asked if isinstance(one, CancelJob)]


def test_without_a_job_there_is_no_progress(stage: Stage) -> None:
    found = stage.get(PROGRESS).json
    assert (found["progress"], found["state"]["job_count"], found["current_image"]) == (0.0, 0, None)
    assert stage.post("/sdapi/v1/interrupt").json == {}
    assert stage.post("/sdapi/v1/skip").text == "null"
    assert cancelled(stage) == []


def test_the_progress_of_a_job_is_its_steps_and_the_newest_preview(stage: Stage) -> None:
    let_jobs_wait(stage, status="processing", started_at_ms=2_000)
    begin(stage)
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=5, steps=20, eta_s=3.0))
    for data in (b"old", b"new"):
        stage.hub.publish(Preview(JobId("j1"), 0, 5, data))
    found = stage.get(PROGRESS).json
    assert (found["progress"], found["eta_relative"]) == (0.25, 3.0)
    assert (found["state"]["sampling_step"], found["state"]["sampling_steps"]) == (5, 20)
    assert (found["state"]["job"], found["state"]["job_count"]) == ("scripts_txt2img", 1)
    assert found["current_image"] == "bmV3"
    assert stage.get(PROGRESS, params={"skip_current_image": "true"}).json["current_image"] is None


def test_a_waiting_job_tells_its_place(stage: Stage) -> None:
    stage.database.add_job(1, "other")
    let_jobs_wait(stage, 2)
    begin(stage)
    found = stage.get(PROGRESS).json
    assert (found["progress"], found["textinfo"], found["state"]["job_count"]) == (0.0, "In queue: 2", 1)


def test_a_job_that_has_ended_is_no_longer_in_progress(stage: Stage) -> None:
    let_jobs_end(stage)
    assert stage.post(TEXTS, {}).status_code == 200
    assert stage.get(PROGRESS).json["state"]["job_count"] == 0


def test_clients_at_two_addresses_see_and_interrupt_their_own_jobs(stage: Stage) -> None:
    let_jobs_wait(stage, 1, status="processing", started_at_ms=2_000)
    begin(stage, json={}, **ANNA)
    let_jobs_wait(stage, 2)
    begin(stage, json={}, **BEN)
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=5, steps=20))
    assert stage.get(PROGRESS, **ANNA).json["progress"] == 0.25
    assert stage.get(PROGRESS, **BEN).json["progress"] == 0.0
    assert stage.get(PROGRESS, remote_addr="10.0.0.3").json["state"]["job_count"] == 0
    stage.post("/sdapi/v1/interrupt", remote_addr="10.0.0.3")
    assert cancelled(stage) == []
    stage.post("/sdapi/v1/interrupt", **BEN)
    assert cancelled(stage) == ["j2"]


def test_a_job_is_found_by_the_id_that_its_client_gave_it(stage: Stage) -> None:
    for number in (1, 2):
        let_jobs_wait(stage, number, status="processing", started_at_ms=2_000)
        begin(stage, json={"force_task_id": f"task({number})"})
        stage.hub.publish(JobProgress(job_id=JobId(f"j{number}"), step=number, steps=4))
    assert stage.get(PROGRESS).json["progress"] == 0.5
    assert stage.get(PROGRESS, params={"force_task_id": "task(1)"}).json["progress"] == 0.25
    found = stage.post("/internal/progress", {"id_task": "task(1)"}).json
    assert (found["active"], found["queued"], found["completed"], found["progress"]) == (
        True,
        False,
        False,
        0.25,
    )
    pending = stage.get("/internal/pending-tasks").json
    assert pending == {"size": 2, "tasks": ["task(1)", "task(2)"]}
    assert stage.get("/internal/pending-tasks", **BEN).json["size"] == 0
    assert not stage.post("/internal/progress", {"id_task": "task(1)"}, **BEN).json["active"]
    stage.post("/sdapi/v1/interrupt", params={"id_task": "task(1)"})
    assert cancelled(stage) == ["j1"]


def test_a_live_preview_comes_once(stage: Stage) -> None:
    let_jobs_wait(stage, status="processing", started_at_ms=2_000)
    begin(stage, json={"force_task_id": "t"})
    stage.hub.publish(Preview(JobId("j1"), 0, 5, b"new"))
    first = stage.post("/internal/progress", {"id_task": "t"}).json
    assert first["live_preview"] == "data:image/jpeg;base64,bmV3"
    seen = {"id_task": "t", "id_live_preview": first["id_live_preview"]}
    assert stage.post("/internal/progress", seen).json["live_preview"] is None


def test_a_task_is_queued_then_active_then_completed(stage: Stage) -> None:
    let_jobs_wait(stage)
    begin(stage, json={"force_task_id": "t"})
    queued = stage.post("/internal/progress", {"id_task": "t"}).json
    assert (queued["queued"], queued["active"], queued["textinfo"]) == (True, False, "In queue: 1")
    stage.database.set("job", "job_id", "j1", status="processing")
    stage.database.set("job", "job_id", "j1", status="finished")
    found = stage.post("/internal/progress", {"id_task": "t"}).json
    assert (found["queued"], found["active"], found["completed"]) == (False, False, True)
    assert not stage.post("/internal/progress", {"id_task": "unknown"}).json["completed"]


def test_previews_of_a_job_that_has_ended_are_forgotten(stage: Stage) -> None:
    let_jobs_wait(stage, status="processing", started_at_ms=2_000)
    begin(stage)
    stage.hub.publish(Preview(JobId("j1"), 0, 5, b"new"))
    stage.hub.publish(
        Changed(seq=EventSeq(1), kind=ChangeKind.JOB, id="j1", state=JobState.FINISHED, at_ms=1)
    )
    assert stage.get(PROGRESS).json["current_image"] is None


def test_an_image_of_several_cannot_be_skipped_but_the_only_one_can(stage: Stage) -> None:
    let_jobs_wait(stage)
    begin(stage)
    assert stage.post("/sdapi/v1/skip").text == "null"
    assert cancelled(stage) == ["j1"]


def test_a_job_that_its_client_interrupts_is_answered_with_the_images_that_were_finished(
    stage: Stage,
) -> None:
    let_jobs_wait(stage, status="processing", started_at_ms=2_000)
    parked = begin(stage, json={"n_iter": 2})
    add_image(stage, "i0")
    stage.post("/sdapi/v1/interrupt")
    stage.database.set("job", "job_id", "j1", status="cancelled", finished_at_ms=3_000)
    body = msgspec.json.decode(resume(parked).stream.read())
    assert len(body["images"]) == 1
    assert msgspec.json.decode(body["info"])["all_seeds"] == [0]


def test_a_job_that_somebody_else_cancels_is_an_error(stage: Stage) -> None:
    let_jobs_end(stage, status="cancelled")
    status, said = refusal_of(stage, TEXTS, {})
    assert (status, said["error"]) == (409, "job_cancelled")


# Options.


def test_the_options_name_the_checkpoint_that_counts(stage: Stage) -> None:
    found = stage.get(OPTIONS).json
    assert (found["sd_model_checkpoint"], found["sd_checkpoint_hash"]) == (
        "dreams.safetensors [abcdef0123]", "abcdef0123",
    )  # fmt: skip
    assert found["samples_format"] == "png"
    assert "forge_preset" not in found


def test_a_chosen_checkpoint_is_that_of_later_requests(stage: Stage) -> None:
    add_checkpoint(stage, "m2", "other", sha256="f" * 64)
    let_jobs_end(stage)
    result = stage.post(OPTIONS, {"sd_model_checkpoint": "other.safetensors [ffffffffff]"})
    assert (result.status_code, result.text) == (200, "null")
    assert stage.get(OPTIONS).json["sd_checkpoint_hash"] == "ffffffffff"
    submitted(stage, TEXTS, {})
    assert command_of(stage).checkpoint == "m2"
    submitted(stage, TEXTS, {"override_settings": {"sd_model_checkpoint": "dreams"}})
    assert command_of(stage).checkpoint == "m1"
    submitted(stage, TEXTS, {})
    assert command_of(stage).checkpoint == "m2"


def test_what_a_request_says_stays_if_it_is_not_to_be_restored(stage: Stage) -> None:
    let_jobs_end(stage)
    said = {"CLIP_stop_at_last_layers": 2}
    submitted(stage, TEXTS, {"override_settings": said})
    assert stage.get(OPTIONS).json["CLIP_stop_at_last_layers"] == 1
    submitted(stage, TEXTS, {"override_settings": said, "override_settings_restore_afterwards": False})
    assert stage.get(OPTIONS).json["CLIP_stop_at_last_layers"] == 2


def test_options_may_be_posted_back_whole_with_one_changed(stage: Stage) -> None:
    whole = stage.get(OPTIONS).json
    result = stage.post(OPTIONS, {**whole, "send_seed": False})
    assert (result.status_code, warnings_of(result)) == (200, "")
    assert stage.get(OPTIONS).json == {**whole, "send_seed": False}


def test_the_hash_of_the_checkpoint_cannot_be_set(stage: Stage) -> None:
    whole = stage.get(OPTIONS).json
    result = stage.post(OPTIONS, {"sd_checkpoint_hash": "0123456789"})
    assert (result.status_code, warnings_of(result)) == (200, "")
    stage.database.set("model", "model_id", "m1", status="error")
    assert stage.get(OPTIONS).json == {**whole, "sd_model_checkpoint": "", "sd_checkpoint_hash": ""}


def test_an_option_that_there_is_not_is_told_and_one_that_is_wrong_refused(stage: Stage) -> None:
    whole = stage.get(OPTIONS).json
    assert "x is unknown" in warnings_of(stage.post(OPTIONS, {"x": 1, "sd_vae": None}))
    for wrong in (
        {"sd_model_checkpoint": "gone"},
        {"samples_format": "gif"},
        {"CLIP_stop_at_last_layers": 13},
        {"CLIP_stop_at_last_layers": "deep"},
        {"sd_vae": "gone"},
    ):
        status, said = refusal_of(stage, OPTIONS, {"send_seed": False, **wrong})
        assert status in (409, 422)
        assert next(iter(wrong)) in said["errors"]
    assert stage.get(OPTIONS).json == whole


def test_a_checkpoint_that_is_gone_since_is_an_error_with_its_name(stage: Stage) -> None:
    add_checkpoint(stage, "m2", "other", sha256="f" * 64)
    stage.post(OPTIONS, {"sd_model_checkpoint": "other"})
    stage.database.set("model", "model_id", "m2", status="error")
    status, said = refusal_of(stage, TEXTS, {})
    assert (status, said["error"]) == (409, "model_missing")
    assert stage.get(OPTIONS).json["sd_model_checkpoint"] == "other"


def test_without_a_choice_among_several_the_manager_refuses(stage: Stage) -> None:
    add_checkpoint(stage, "m2", "other", sha256="f" * 64)
    let_jobs_end(stage)
    assert stage.get(OPTIONS).json["sd_model_checkpoint"] == ""
    submitted(stage, TEXTS, {})
    asked = command_of(stage)
    assert isinstance(asked, SubmitJob)
    assert (asked.checkpoint, asked.engine_id, asked.engine_name) == (None, None, None)


def header(result: Any) -> str:
    return warnings_of(result)


def test_parameters_that_mean_nothing_are_told(stage: Stage) -> None:
    assert header(stage.get(PROGRESS, params={"x": "1"})) == "x is unknown and has no effect"
    assert header(stage.post("/sdapi/v1/interrupt", params={"x": "1"})) == "x is unknown and has no effect"
