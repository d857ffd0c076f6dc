"""POST /v1/jobs: what is taken, and everything that is refused."""

import json
from typing import Any

import falcon.testing
import msgspec
import pytest
from msgspec.structs import replace

from api.http.contract.job_input import JobInput
from api.http.framework.deferral import OUTCOME, ShortRequest
from api.session import Outcome
from kernel.protocol.client import JobValid, SubmitJob
from kernel.protocol.enums import CallbackEvent, ImageFileType, JobState, Scheduler, WaitsFor
from kernel.protocol.errors import DiskFull, EngineNotFound, KeyReused, QueueFull
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.specs import JobRequest
from kernel.protocol.webhooks import ENDS, Callback
from tests.unit.api.fake_bus import accepted
from tests.unit.api.rich_job import RICH_SPEC
from tests.unit.api.stage import Stage, fields_of

ACCEPTED = accepted("j1", "i1", "i2", created_at_ms=1_700_000_000_123)


@pytest.fixture(autouse=True)
def a_willing_manager(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = ACCEPTED


def test_an_accepted_job_is_told_with_its_place(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "prompt": "a cat"})
    assert result.status_code == 202
    assert result.headers["location"] == "/v1/jobs/j1"
    assert (result.json["job_id"], result.json["image_ids"]) == ("j1", ["i1", "i2"])
    assert (result.json["queue_position"], result.json["waits_for"]) == (1, "turn")


def test_the_answer_is_the_job_as_a_look_at_it_shows_it_and_reads_no_database(stage: Stage) -> None:
    spec = replace(RICH_SPEC, prompt="a cat", seed=7)
    names = {"e1": "portraits", "l1": "sketch"}
    accepted = replace(
        ACCEPTED, spec=spec, priority=3, created_at_ms=10_000, names=names, waits_for=WaitsFor.START
    )
    stage.bus.reactions[SubmitJob] = accepted
    told = stage.post("/v1/jobs", {"engine_id": "e1", "prompt": "a cat"}).json
    stage.database.add_engine("e1", name="portraits")
    stage.database.add_model("l1", name="sketch")
    stage.database.add_job(1, "j1", spec=spec, priority=3, created_at_ms=10_000, image_ids='["i1","i2"]')
    shown = stage.get("/v1/jobs/j1").json
    assert told == shown


def test_a_job_that_a_worker_has_at_once_is_shown_as_such(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = replace(
        ACCEPTED, status=JobState.PROCESSING, jobs_ahead=None, waits_for=None, attempts=1, started_at_ms=5_000
    )
    job = stage.post("/v1/jobs", {"engine_id": "e1"}).json
    assert (job["status"], job["queue_position"], job["waits_for"]) == ("processing", None, None)
    assert (job["attempts"], job["started_at"]) == (1, "1970-01-01T00:00:05Z")


def test_a_repetition_for_a_job_that_was_deleted_since_finds_none(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = replace(ACCEPTED, spec=None)
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, headers={"Idempotency-Key": "k"})
    assert (result.status_code, result.json["code"]) == (404, "job_not_found")


def test_a_job_for_an_engine_in_error_is_accepted_and_told_what_it_waits_for(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = replace(
        ACCEPTED,
        waits_for=WaitsFor.REPAIR,
        error_code="model_unreadable",
        error="the header is damaged",
    )
    result = stage.post("/v1/jobs", {"engine_id": "e1", "prompt": "a cat"})
    assert (result.status_code, result.json["waits_for"]) == (202, "repair")
    assert result.json["error"] == {
        "code": "model_unreadable",
        "detail": "the header is damaged; fix this and start the engine, or delete the engine with its jobs",
    }


def short_request(job: Any, **changed: Any) -> ShortRequest:
    headers = {"CONTENT_TYPE": "application/json", "HOST": "localhost", **changed.pop("headers", {})}
    plain = ShortRequest("POST", "/v1/jobs", "", headers, json.dumps(job).encode())
    return replace(plain, **changed)


def answer_by_application(stage: Stage, job: Any, outcome: Outcome) -> tuple[str, dict[str, str], Any]:
    """How the application completes what was begun."""
    environment = falcon.testing.create_environ(
        "/v1/jobs", method="POST", headers={"Host": "localhost", "X-Request-ID": "r"}, body=json.dumps(job)
    )
    seen = falcon.testing.StartResponseMock()
    body = b"".join(stage.app({**environment, OUTCOME: outcome}, seen))
    return seen.status or "", seen.headers_dict, json.loads(body)


@pytest.mark.parametrize("reaction", [QueueFull("full"), JobValid(engine_id=EngineId("e1"))])
def test_a_plain_job_is_asked_for_once_and_refused_as_it_would_be_by_a_thread(
    stage: Stage, reaction: Any
) -> None:
    stage.bus.reactions[SubmitJob] = reaction
    job = {"engine_id": "e1", "prompt": "a cat", "vae": None, "steps": 4}
    by_thread = stage.post("/v1/jobs", job, headers={"Idempotency-Key": "k", "X-Request-ID": "r"})
    said: list[Outcome] = []
    assert stage.app.deferral.begin(short_request(job, headers={"IDEMPOTENCY_KEY": "k"}), said.append)
    assert stage.bus.asked[0] == stage.bus.asked[1]
    assert stage.bus.keys == ["http:k", "http:k"]
    assert stage.app.deferral.answer(said[0]) is None
    status, headers, body = answer_by_application(stage, job, said[0])
    assert len(stage.bus.asked) == 2
    assert (status[:3], body) == (str(by_thread.status_code), by_thread.json)
    assert headers == dict(by_thread.headers)


@pytest.mark.parametrize(
    "reaction",
    [
        ACCEPTED,
        replace(ACCEPTED, spec=RICH_SPEC, names={"l1": "sketch"}, priority=3),
        replace(ACCEPTED, waits_for=WaitsFor.REPAIR, error_code="model_unreadable", error="damaged"),
    ],
)
def test_an_accepted_plain_job_is_answered_without_the_application_to_the_byte(
    stage: Stage, reaction: Any
) -> None:
    stage.bus.reactions[SubmitJob] = reaction
    job = {"engine_id": "e1", "prompt": "a cat"}
    by_thread = stage.post("/v1/jobs", job)
    direct = stage.app.deferral.answer(reaction)
    assert direct is not None
    assert (direct.status, direct.body) == (by_thread.status, by_thread.content)
    assert [(name.lower(), value) for name, value in direct.headers] == list(by_thread.headers.items())


def test_a_repetition_for_a_deleted_job_is_answered_by_the_application(stage: Stage) -> None:
    assert stage.app.deferral.answer(replace(ACCEPTED, spec=None)) is None


@pytest.mark.parametrize(
    "job",
    [
        {"engine_id": "e1", "loras": ["sketch"]},
        {"engine_id": "e1", "vae": "soft"},
        {"engine_id": "e1", "embeddings": ["bad-hands"]},
        {"engine_id": "e1", "control_scale": 0.5, "pose_image_blob": "aGVsbG8="},
        {"engine_id": "e1", "reference_image_blob": "aGVsbG8="},
        {"engine_id": "e1", "steps": 0},
        {"engine_id": "e1", "stepz": 1},
        [],
    ],
)
def test_what_is_looked_up_or_wrong_is_not_begun(stage: Stage, job: Any) -> None:
    assert not stage.app.deferral.begin(short_request(job), lambda outcome: None)
    assert stage.bus.asked == []


def test_only_plain_posts_of_jobs_are_begun(stage: Stage) -> None:
    job = {"engine_id": "e1"}
    for request in (
        short_request(job, query="wait=3"),
        short_request(job, method="PUT"),
        short_request(job, path="/v1/engines"),
        short_request(job, headers={"CONTENT_TYPE": "text/plain"}),
        short_request(job, headers={"CONTENT_ENCODING": "gzip"}),
        short_request(job, headers={"IDEMPOTENCY_KEY": "x" * 201}),
        short_request(job, body=b'{"engine_id": "e1", "engine_id": "e1"}'),
    ):
        assert not stage.app.deferral.begin(request, lambda outcome: None)
    assert stage.bus.asked == []


def test_every_field_reaches_the_manager(stage: Stage) -> None:
    stage.post(
        "/v1/jobs",
        {
            "engine": "portraits",
            "prompt": "a cat",
            "negative_prompt": "a dog",
            "seed": 0,
            "count": 2,
            "steps": 1,
            "cfg": 0,
            "width": 64,
            "height": 128,
            "scheduler": "DPM++ 2M Karras",
            "scheduler_config": {"use_karras_sigmas": True, "beta_start": 0.1},
            "image_file_type": "JPG",
            "quality": 1,
            "priority": -5,
        },
    )
    assert stage.last_ask == SubmitJob(
        engine_name="portraits",
        request=JobRequest(
            prompt="a cat",
            negative_prompt="a dog",
            seed=0,
            count=2,
            steps=1,
            guidance_scale=0.0,
            width_px=64,
            height_px=128,
            scheduler=Scheduler.DPMPP_2M_KARRAS,
            scheduler_config={"use_karras_sigmas": True, "beta_start": 0.1},
            image_file_type=ImageFileType.JPEG,
            quality=1,
        ),
        priority=-5,
    )


def test_what_is_not_given_is_left_to_the_engine(stage: Stage) -> None:
    stage.post("/v1/jobs", {"engine_id": "e1"})
    assert stage.last_ask == SubmitJob(engine_id=EngineId("e1"), request=JobRequest())


def test_null_is_the_same_as_not_given(stage: Stage) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(JobInput) if field.name != "engine_id"]
    stage.post("/v1/jobs", {"engine_id": "e1", **dict.fromkeys(names)})
    assert stage.last_ask == SubmitJob(engine_id=EngineId("e1"), request=JobRequest())


def test_null_is_not_given_within_a_value(stage: Stage) -> None:
    job = {"engine_id": "e1", "loras": [{"model_id": "l1", "weight": None}], "count": None}
    stage.post("/v1/jobs", job | {"scheduler_config": {"use_karras_sigmas": None}})
    assert isinstance(stage.last_ask, SubmitJob)
    assert stage.last_ask.request.loras == (LoraUse(model_id=ModelId("l1")),)
    assert stage.last_ask.request.scheduler_config == {}


@pytest.mark.parametrize(
    "wrong", [{"stpes": None}, {"": None}, {"loras": [{"model_id": "l1", "wieght": None}]}]
)
def test_an_unknown_field_is_one_with_null_as_well(stage: Stage, wrong: dict[str, Any]) -> None:
    assert stage.post("/v1/jobs", {"engine_id": "e1", **wrong}).status_code == 422


def test_the_seed_minus_one_is_a_random_one(stage: Stage) -> None:
    stage.post("/v1/jobs", {"engine_id": "e1", "seed": -1})
    assert isinstance(stage.last_ask, SubmitJob)
    assert stage.last_ask.request.seed is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 201),
        ("steps", -1),
        ("steps", "20"),
        ("steps", 1.5),
        ("steps", True),
        ("cfg", -0.1),
        ("cfg", "7"),
        ("seed", -2),
        ("seed", 2**63),
        ("count", 0),
        ("count", 17),
        ("width", 65),
        ("width", 0),
        ("width", 8200),
        ("height", 56),
        ("quality", 0),
        ("quality", 101),
        ("priority", 1001),
        ("priority", -1001),
        ("prompt", 5),
        ("prompt", "a\x00b"),
        ("prompt", "x" * 100_001),
        ("negative_prompt", ["a"]),
        ("scheduler", "fastest"),
        ("scheduler", 5),
        ("image_file_type", "gif"),
        ("scheduler_config", []),
        ("scheduler_config", {f"option{number}": 1 for number in range(65)}),
        ("engine_id", 5),
        ("engine_id", ""),
        ("engine_id", "x" * 101),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(stage: Stage, field: str, value: Any) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", field: value})
    assert result.status_code == 422
    assert result.json["code"] == "invalid_field"
    assert list(fields_of(result)) == [field]
    assert stage.bus.asked == []


@pytest.mark.parametrize("value", [2**63, -(2**63), "x" * 1_001, "a\x00b", [1]])
def test_a_scheduler_option_that_cannot_be_stored_is_refused(stage: Stage, value: Any) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "scheduler_config": {"beta": value}})
    assert result.status_code == 422
    assert next(iter(fields_of(result))).startswith("scheduler_config")


@pytest.mark.parametrize(("field", "limit"), [("steps", 200), ("count", 16)])
@pytest.mark.parametrize("value", [201, 100_000])
def test_a_bound_that_is_told_is_the_one_of_this_installation(
    stage: Stage, field: str, limit: int, value: int
) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", field: value})
    assert fields_of(result) == {field: f"must be at most {limit}"}


def test_too_many_pixels_are_refused(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "width": 4096, "height": 4096})
    assert fields_of(result) == {"width": "width x height must be at most 4194304 pixels"}


def test_all_wrong_fields_are_listed_at_once(stage: Stage) -> None:
    result = stage.post(
        "/v1/jobs",
        {
            "steps": 0,
            "count": 99,
            "scheduler": "fastest",
            "promt": "a cat",
            "prompt": "\x00",
            "callback_url": "",
        },
    )
    assert result.status_code == 422
    assert result.json["code"] == "invalid_field"
    assert set(fields_of(result)) == {
        "steps",
        "count",
        "scheduler",
        "promt",
        "prompt",
        "callback_url",
    }
    assert fields_of(result)["promt"] == "unknown field; did you mean prompt?"


@pytest.mark.parametrize(
    "url", ["ftp://a.example/", "https://me:secret@a.example/", "http://0x7f.1/", "https://a.example:0/"]
)
def test_a_job_tells_no_receiver_that_cannot_be_one(stage: Stage, url: str) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "callback_url": url})
    assert (result.status_code, [*fields_of(result)]) == (422, ["callback_url"])
    assert "secret" not in result.text


def test_a_job_names_its_receiver_and_what_that_hears_of(stage: Stage) -> None:
    stage.post("/v1/jobs", {"engine_id": "e1", "callback_url": "https://a.example/"})
    assert stage.last_ask.callback == Callback(url="https://a.example/", events=ENDS)
    events = {"callback_url": "https://a.example/", "callback_events": ["job.started"]}
    stage.post("/v1/jobs", {"engine_id": "e1"} | events)
    assert stage.last_ask.callback.events == (CallbackEvent.JOB_STARTED,)
    result = stage.post("/v1/jobs", {"engine_id": "e1", "callback_events": ["job.started"]})
    assert fields_of(result) == {"callback_events": "requires callback_url"}


@pytest.mark.parametrize("named", [{}, {"checkpoint": "dreams"}])
def test_the_engine_of_a_job_that_names_none_is_the_managers_choice(
    stage: Stage, named: dict[str, str]
) -> None:
    assert stage.post("/v1/jobs", {"prompt": "a cat", **named}).status_code == 202
    request = JobRequest(prompt="a cat")
    assert stage.last_ask == SubmitJob(request=request, checkpoint=named.get("checkpoint"))


def test_a_checkpoint_must_not_be_blank(stage: Stage) -> None:
    assert fields_of(stage.post("/v1/jobs", {"checkpoint": " "})) == {"checkpoint": "must not be blank"}


def test_a_valid_job_whose_engine_would_be_created_has_no_engine_yet(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = JobValid(engine_id=None)
    result = stage.post("/v1/jobs", {"checkpoint": "dreams"}, query_string="validate_only=true")
    assert result.json == {"valid": True, "engine_id": None}


def test_an_engine_must_not_be_named_twice(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1", "engine": "portraits"})
    assert fields_of(result) == {"engine": "contradicts engine_id: set one of them"}


def test_validate_only_asks_the_manager_and_submits_nothing(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = JobValid(engine_id=EngineId("e1"))
    result = stage.post("/v1/jobs", {"engine": "portraits"}, query_string="validate_only=true")
    assert result.status_code == 200
    assert result.json == {"valid": True, "engine_id": "e1"}
    assert isinstance(stage.last_ask, SubmitJob)
    assert stage.last_ask.validate_only


def test_the_idempotency_key_is_the_callers_in_a_scope_of_its_own(stage: Stage) -> None:
    stage.post("/v1/jobs", {"engine_id": "e1"}, headers={"Idempotency-Key": "order 7"})
    stage.post("/v1/jobs", {"engine_id": "e1"})
    assert stage.bus.keys == ["http:order 7", None]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_is_no_plain_word_is_refused(stage: Stage, key: str) -> None:
    for query in ("", "validate_only=true"):
        result = stage.post(
            "/v1/jobs", {"engine_id": "e1"}, headers={"Idempotency-Key": key}, query_string=query
        )
        assert list(fields_of(result)) == ["Idempotency-Key"]
    assert stage.bus.asked == []


@pytest.mark.parametrize("wait", ["-1", "301", "nan", "inf", "soon", ""])
def test_a_wait_that_is_no_time_is_refused(stage: Stage, wait: str) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, query_string=f"wait={wait}")
    assert list(fields_of(result)) == ["wait"]


def test_an_unknown_parameter_is_refused(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, query_string="wiat=3")
    assert fields_of(result) == {"wiat": "unknown field; did you mean wait?"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(EngineNotFound(), 404), (KeyReused(), 409), (QueueFull(retry_after_s=7.2), 429), (DiskFull(), 507)],
)
def test_a_refusal_of_the_manager_has_its_status(stage: Stage, error: Exception, status: int) -> None:
    stage.bus.reactions[SubmitJob] = error  # type: ignore[assignment]
    result = stage.post("/v1/jobs", {"engine_id": "e1"})
    assert result.status_code == status
    assert result.headers.get("retry-after") == ("8" if status == 429 else None)


def test_a_manager_that_does_not_answer_is_unavailable(stage: Stage) -> None:
    stage.bus.reactions.clear()
    result = stage.post("/v1/jobs", {"engine_id": "e1"})
    assert (result.status_code, result.json["code"]) == (503, "manager_unreachable")
    assert int(result.headers["retry-after"]) >= 1


def test_waiting_for_a_job_that_has_ended_answers_with_the_job(stage: Stage) -> None:
    stage.database.add_job(1, "j1", status="finished", finished_at_ms=5_000)
    result = stage.post("/v1/jobs", {"engine_id": "e1"}, query_string="wait=30")
    assert result.status_code == 200
    assert (result.json["status"], result.json["prompt"]) == ("finished", "a cat")


def test_waiting_no_time_answers_at_once(stage: Stage) -> None:
    assert stage.post("/v1/jobs", {"engine_id": "e1"}, query_string="wait=0").status_code == 202
