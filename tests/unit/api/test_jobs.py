"""GET, cancel and DELETE of /v1/jobs"""

import pytest

from kernel.protocol.client import CancelJob, DeleteJob, Done, EditJob, JobProgress
from kernel.protocol.errors import IllegalMove, JobUnfinished
from kernel.protocol.ids import JobId
from tests.unit.api.rich_job import RICH_SPEC
from tests.unit.api.stage import Stage


def test_a_job_shows_every_decided_value(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="finished", started_at_ms=2_000, finished_at_ms=3_000, attempts=1)
    assert stage.get("/v1/jobs/j1").json == {
        "job_id": "j1",
        "engine_id": "e1",
        "status": "finished",
        "priority": 0,
        "queue_position": None,
        "queue_eta_s": None,
        "waits_for": None,
        "progress": None,
        "attempts": 1,
        "error": None,
        "warnings": [],
        "image_id": "i1",
        "image_ids": ["i1"],
        "prompt": "a cat",
        "negative_prompt": "a dog",
        "prompt_template": None,
        "negative_prompt_template": None,
        "lora_tags": False,
        "loras": [],
        "embeddings": [],
        "vae": "checkpoint",
        "long_prompt_technique": "sd_embed",
        "clip_skip": None,
        "guidance_rescale": None,
        "eta": None,
        "seed": 0,
        "count": 1,
        "steps": 20,
        "cfg": 7.5,
        "width": 512,
        "height": 768,
        "scheduler": "euler",
        "scheduler_config": {},
        "inputs": [],
        "strength": None,
        "image_fit": None,
        "mask_mode": None,
        "mask_blur": None,
        "inpaint_area": None,
        "inpaint_padding": None,
        "inpaint_fill": None,
        "type_pose": [],
        "key_id": None,
        "names": {},
        "controls": [],
        "remove_background_models": [],
        "background_color": None,
        "image_file_type": "png",
        "quality": 90,
        "previews": False,
        "expire_after_s": None,
        "delete_after_downloads": None,
        "give_up_after_s": None,
        "created_at": "1970-01-01T00:00:01.001000Z",
        "started_at": "1970-01-01T00:00:02Z",
        "finished_at": "1970-01-01T00:00:03Z",
    }


def test_a_job_shows_all_that_goes_into_it(stage: Stage) -> None:
    stage.database.add_job(1, "j1", spec=RICH_SPEC)
    found = stage.get("/v1/jobs/j1").json
    assert found["loras"] == [{"model_id": "l1", "weight": 0.5}]
    assert (found["embeddings"], found["vae"], found["clip_skip"]) == (["t1"], "v1", 1)
    assert found["long_prompt_technique"] == "sd_embed"
    assert (found["inputs"], found["strength"]) == (["reference", "mask", "pose"], 0.5)
    assert (found["image_fit"], found["type_pose"]) == ("pad", ["openpose", "canny"])
    assert found["controls"][0] == {
        "type_pose": "openpose",
        "control_model": "c1",
        "control_scale": 0.75,
        "control_start": 0.0,
        "control_end": 0.5,
        "preprocessed": False,
    }
    assert (found["remove_background_models"], found["background_color"]) == (["b1"], "#00ff00")
    assert (found["previews"], found["expire_after_s"], found["delete_after_downloads"]) == (True, 60.0, 2)


def test_every_id_that_a_job_shows_has_its_name_beside_it(stage: Stage) -> None:
    stage.database.add_engine("e1", "portraits")
    for model_id, name in (
        ("l1", "detail"),
        ("t1", "dusk"),
        ("v1", "clear"),
        ("c1", "poses"),
        ("m9", "other"),
    ):
        stage.database.add_model(model_id, name=name)
    stage.database.add_job(1, "j1", spec=RICH_SPEC)
    names = {"e1": "portraits", "l1": "detail", "t1": "dusk", "v1": "clear", "c1": "poses"}
    assert stage.get("/v1/jobs/j1").json["names"] == names, "b1 was deleted since"
    assert stage.get("/v1/jobs").json["items"][0]["names"] == names


def test_a_priority_is_changed(stage: Stage) -> None:
    stage.bus.reactions[EditJob] = Done()
    stage.database.add_job(1, "j1", priority=5)
    result = stage.call("PATCH", "/v1/jobs/j1", {"priority": 5})
    assert (result.status_code, result.json["priority"]) == (200, 5)
    assert stage.last_ask == EditJob(job_id=JobId("j1"), priority=5)
    for body in ({}, {"priority": 1.5}, {"priority": 1_001}, {"priority": 1, "seed": 2}):
        assert stage.call("PATCH", "/v1/jobs/j1", body).status_code == 422


@pytest.mark.parametrize("is_for_all", [True, False])
def test_a_job_of_a_paused_queue_waits_for_that(stage: Stage, is_for_all: bool) -> None:
    stage.database.add_engine("e1", status="ready", **({} if is_for_all else {"paused_since_ms": 5}))
    if is_for_all:
        stage.database.connection.execute("INSERT INTO meta VALUES ('paused_since_ms', 5)")
    stage.database.add_job(1, "j1")
    assert stage.get("/v1/jobs/j1").json["waits_for"] == "paused"
    assert stage.get("/v1/engines/e1").json["queue"] == {"waiting": 1, "processing": 0, "paused": True}
    since = "1970-01-01T00:00:00.005000Z" if is_for_all else None
    found = {"waiting": 1, "processing": 0, "paused": is_for_all, "paused_since": since}
    assert stage.get("/v1/queue").json == found


def test_a_waiting_job_shows_its_place_in_the_queue(stage: Stage) -> None:
    stage.database.add_engine("e1", status="working")
    stage.database.add_job(1, "j1")
    stage.database.add_job(2, "j2")
    found = stage.get("/v1/jobs/j2").json
    assert (found["queue_position"], found["waits_for"]) == (2, "turn")
    assert found["queue_eta_s"] is None, "the engine has finished no job yet"
    assert stage.get("/v1/jobs").json["items"][0]["waits_for"] is None


def test_the_time_until_its_turn_is_judged_by_the_last_jobs_without_the_pauses_between_them(
    stage: Stage,
) -> None:
    stage.database.add_engine("e1", status="working")
    hour_ms = 3_600_000
    for seq, (start_ms, end_ms) in enumerate(
        [(0, 4_000), (hour_ms, hour_ms + 4_000), (hour_ms, hour_ms + 8_000)]
    ):
        stage.database.add_job(seq + 1, status="finished", started_at_ms=start_ms, finished_at_ms=end_ms)
    stage.database.add_job(4, status="processing", started_at_ms=hour_ms)
    for seq in (5, 6, 7):
        stage.database.add_job(seq)
    assert stage.get("/v1/jobs/j7").json["queue_eta_s"] == 4.0 * 2.5, "two ahead, and half of the one in work"
    assert stage.get("/v1/jobs/j5").json["queue_eta_s"] == 2.0


@pytest.mark.parametrize(
    ("status", "waits_since_ms", "word"),
    [
        ("ready", None, "turn"),
        ("starting", None, "engine"),
        ("stopping", None, "engine"),
        ("stopping", 5, "room"),
        ("closed", 5, "room"),
        ("closed", None, "start"),
    ],
)
def test_a_waiting_job_says_what_it_waits_for(
    stage: Stage, status: str, waits_since_ms: int | None, word: str
) -> None:
    stage.database.add_engine("e1", status=status, waits_since_ms=waits_since_ms)
    stage.database.add_job(1, "j1")
    assert stage.get("/v1/jobs/j1").json["waits_for"] == word


def test_an_engine_says_why_its_worker_waits_for_capacity(stage: Stage) -> None:
    stage.database.add_engine("e1", status="closed", waits_since_ms=5, waits_reason="no node has GPU")
    engine = stage.get("/v1/engines/e1").json
    assert (engine["waiting_for_room"], engine["waiting_for_capacity"]) == (False, "no node has GPU")


@pytest.mark.parametrize(
    ("code", "retry_at_ms", "word", "advice"),
    [
        ("worker_crashed", 61_000, "retry", "retried at 1970-01-01T00:01:01Z: start it to retry now"),
        ("worker_crashed", None, "start", "start the engine to retry"),
        (
            "model_unreadable",
            None,
            "repair",
            "fix this and start the engine, or delete the engine with its jobs",
        ),
    ],
)
def test_a_job_that_waits_for_an_engine_in_error_says_why_and_what_helps(
    stage: Stage, code: str, retry_at_ms: int | None, word: str, advice: str
) -> None:
    stage.database.add_engine(
        "e1", status="error", error_code=code, error="it broke", retry_at_ms=retry_at_ms
    )
    stage.database.add_job(1, "j1")
    stage.database.add_job(2, "j2", status="failed", error_code="oom", error="own")
    found = stage.get("/v1/jobs/j1").json
    assert (found["waits_for"], found["error"]["code"]) == (word, code)
    assert found["error"]["detail"].startswith("it broke; ")
    assert found["error"]["detail"].endswith(advice)
    listed = {job["job_id"]: job["error"] for job in stage.get("/v1/jobs").json["items"]}
    assert listed == {"j1": found["error"], "j2": {"code": "oom", "detail": "own"}}
    engine = stage.get("/v1/engines/e1").json
    assert engine["error"] == found["error"]
    assert engine["retry_at"] == (None if retry_at_ms is None else "1970-01-01T00:01:01Z")


def test_a_job_whose_engine_is_tried_again_still_shows_the_reason(stage: Stage) -> None:
    stage.database.add_engine("e1", status="starting", error_code="out_of_memory", error="8 GB needed")
    stage.database.add_job(1, "j1")
    found = stage.get("/v1/jobs/j1").json
    assert (found["waits_for"], found["error"]["code"]) == ("engine", "out_of_memory")
    assert found["error"]["detail"] == "8 GB needed; the engine is being restarted"


def test_a_running_job_shows_its_latest_progress(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="processing")
    stage.hub.publish(JobProgress(job_id=JobId("j1"), step=5, steps=20, eta_s=1.5))
    progress = {"stage": "denoising", "step": 5, "steps": 20, "fraction": 0.25, "eta_s": 1.5}
    assert stage.get("/v1/jobs/j1").json["progress"] == progress
    assert stage.get("/v1/jobs").json["items"][0]["progress"] == progress


def test_a_failed_job_says_why(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="failed", error_code="worker_crashed", error="three times")
    assert stage.get("/v1/jobs/j1").json["error"] == {"code": "worker_crashed", "detail": "three times"}


def test_jobs_come_in_pages(stage: Stage) -> None:
    for seq in (1, 2, 3):
        stage.database.add_job(seq)
    first = stage.get("/v1/jobs", query_string="limit=2").json
    second = stage.get("/v1/jobs", query_string=f"limit=2&after={first['next']}").json
    assert [job["job_id"] for job in first["items"] + second["items"]] == ["j3", "j2", "j1"]
    assert second["next"] is None


def test_a_cancelled_job_is_over(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="cancelled")
    stage.bus.reactions[CancelJob] = Done()
    result = stage.post("/v1/jobs/j1/cancel")
    assert (result.status_code, result.json["status"]) == (200, "cancelled")


def test_what_cannot_be_cancelled_is_a_conflict(stage: Stage) -> None:
    stage.bus.reactions[CancelJob] = IllegalMove()
    assert stage.post("/v1/jobs/j1/cancel").status_code == 409


def test_an_open_job_is_not_deleted(stage: Stage) -> None:
    stage.bus.reactions[DeleteJob] = JobUnfinished()
    assert stage.call("DELETE", "/v1/jobs/j1").status_code == 409
    stage.bus.reactions[DeleteJob] = Done()
    result = stage.call("DELETE", "/v1/jobs/j1")
    assert (result.status_code, result.text) == (204, "")


def test_head_answers_as_get_without_the_body(stage: Stage) -> None:
    stage.database.add_job(1, "j1")
    result = stage.call("HEAD", "/v1/jobs/j1")
    assert (result.status_code, result.text) == (200, "")


def test_jobs_are_searched(stage: Stage) -> None:
    stage.database.add_job(1, "j1", spec=RICH_SPEC)
    stage.database.add_job(2, "j2", status="failed")
    query = "prompt=cat&created_after=1h&status=failed"
    assert [job["job_id"] for job in stage.get("/v1/jobs", query_string=query).json["items"]] == ["j2"]
    query = "created_before=1970-01-02&order=oldest"
    assert [job["job_id"] for job in stage.get("/v1/jobs", query_string=query).json["items"]] == ["j1", "j2"]
    assert stage.get("/v1/jobs", query_string="tag=best").status_code == 422
