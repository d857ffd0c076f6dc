"""/v1/images/generations, edits, variations and the models, in the shape of OpenAI's API."""

import base64
from io import BytesIO
from typing import Any

import falcon.testing
import msgspec
import pytest
from PIL import Image

from api.http.app import make_app
from api.hub import Hub
from kernel.protocol.client import ClaimDownload, DownloadGranted, FinishDownload, SubmitJob
from kernel.protocol.enums import InputKind, MaskMode
from kernel.protocol.errors import ImageGone, ModelMissing, QueueFull, of_field, wrong_field
from kernel.protocol.ids import ImageId, ModelId, Ticket
from kernel.protocol.specs import EngineSpec
from tests.unit.api.fake_bus import accepted
from tests.unit.api.forms import HEADERS, Part, file, form, text
from tests.unit.api.sample_pictures import PNG, PNG_TEXT, picture
from tests.unit.api.stage import NOW_MS, Stage
from tests.unit.views.database import SPEC

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
VARIATIONS = "/v1/images/variations"
MASK = picture("PNG", 24, 24)
SENT = FinishDownload(image_id=ImageId("i1"), ticket=Ticket("t1"), whole=True)


@pytest.fixture
def studio(stage: Stage) -> Stage:
    """An engine e1 called studio, which has made the image i1 of the job j1: the answer to every job."""
    stage.database.add_model("m1", name="dreams", native_size_px=512)
    stage.database.add_engine("e1", "studio", EngineSpec(name="studio", checkpoint=ModelId("m1")))
    stage.database.add_job(1, "j1", status="finished", finished_at_ms=9_000, warnings='["a word was cut"]')
    stage.database.add_image("i1", "j1", seed=7)
    (stage.settings.images.folder / "i1.png").write_bytes(PNG)
    stage.bus.reactions[SubmitJob] = accepted("j1", "i1")
    stage.bus.reactions[ClaimDownload] = DownloadGranted(
        file_name="i1.png", ticket=Ticket("t1"), is_limited=False
    )
    return stage


def sent(studio: Stage) -> SubmitJob:
    """The job that was submitted."""
    (ask,) = (ask for ask in studio.bus.asked if isinstance(ask, SubmitJob))
    return ask


def posted(studio: Stage, path: str, *parts: Part) -> falcon.testing.Result:
    return studio.call("POST", path, body=form(*parts), headers=HEADERS)


def error_in(result: falcon.testing.Result) -> dict[str, Any]:
    assert result.headers["content-type"] == "application/json"
    error: dict[str, Any] = result.json["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


def test_an_image_comes_in_base64_with_what_clients_read(studio: Stage) -> None:
    result = studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox", "user": "me"})
    assert result.status_code == 200
    assert result.headers["x-spoon-job"] == "j1"
    body = result.json
    (image,) = body["data"]
    assert base64.b64decode(image["b64_json"]) == PNG
    assert (image["image_id"], image["seed"], image["revised_prompt"]) == ("i1", 7, None)
    assert "url" not in image
    said = {
        name: body[name] for name in ("created", "background", "output_format", "quality", "size", "job_id")
    }
    assert said == {
        "created": 9,
        "background": "opaque",
        "output_format": "png",
        "quality": "auto",
        "size": "512x768",
        "job_id": "j1",
    }
    assert body["usage"]["total_tokens"] == 0
    assert body["warnings"] == ["user has no effect: nothing is kept about users", "a word was cut"]


def test_a_download_counts_once_the_response_was_sent(studio: Stage) -> None:
    studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox"})
    assert studio.bus.told == [SENT]


def test_a_job_of_ours_has_every_field(studio: Stage) -> None:
    asked = {
        "model": "studio",
        "prompt": "a fox",
        "n": 2,
        "size": "64x128",
        "seed": 5,
        "num_inference_steps": 9,
    }
    studio.post(GENERATIONS, {**asked, "negative_prompt": "a dog", "user": None, "priority": 3})
    ask = sent(studio)
    request = ask.request
    assert (ask.engine_id, ask.checkpoint, ask.priority) == ("e1", None, 3)
    assert (request.prompt, request.negative_prompt, request.count, request.seed) == ("a fox", "a dog", 2, 5)
    assert (request.width_px, request.height_px, request.steps) == (64, 128, 9)
    assert request.give_up_after_s == 30


@pytest.mark.parametrize(
    ("model", "engine_id", "checkpoint"),
    [
        ("studio", "e1", None),
        ("e1", "e1", None),
        ("dreams", None, "m1"),
        ("m1", None, "m1"),
        ("x", None, "x"),
    ],
)
def test_a_model_is_an_engine_or_a_checkpoint(
    studio: Stage, model: str, engine_id: str | None, checkpoint: str | None
) -> None:
    studio.post(GENERATIONS, {"model": model, "prompt": "a fox"})
    assert (sent(studio).engine_id, sent(studio).checkpoint) == (engine_id, checkpoint)


def test_without_a_model_the_only_engine_with_a_name_counts(studio: Stage) -> None:
    studio.database.add_engine("e2")
    studio.post(GENERATIONS, {"prompt": "a fox"})
    assert sent(studio).engine_id == "e1"


def test_without_a_model_the_manager_chooses_among_several(studio: Stage) -> None:
    studio.database.add_engine("e2", "atelier")
    problem = "is required, or an engine: there are several"
    studio.bus.reactions[SubmitJob] = wrong_field("checkpoint", problem)
    error = error_in(studio.post(GENERATIONS, {"prompt": "a fox"}))
    assert error["param"] == "model"
    assert error["message"].endswith("one of studio, atelier, dreams")


def test_an_unknown_model_is_not_found(studio: Stage) -> None:
    studio.bus.reactions[SubmitJob] = of_field(ModelMissing, "checkpoint", "no model is called so")
    result = studio.post(GENERATIONS, {"model": "dall-e-3", "prompt": "a fox"})
    assert result.status_code == 404
    assert error_in(result) == {
        "message": "model: no engine or checkpoint is called 'dall-e-3': use one of studio, dreams",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_a_model_beside_an_engine_is_a_contradiction(studio: Stage) -> None:
    error = error_in(studio.post(GENERATIONS, {"model": "studio", "engine": "studio", "prompt": "a fox"}))
    assert error["message"] == "model: contradicts engine: set one of them"


def test_all_wrong_fields_are_told_by_the_names_that_the_client_used(studio: Stage) -> None:
    asked = {"prompt": "a fox", "n": 99, "size": "65x64", "guidance_scale": 1_000, "fo": 1}
    error = error_in(studio.post(GENERATIONS, asked))
    assert error["code"] == "invalid_field"
    for told in ("n: must be at most 16", "size: must be a multiple of 8", "guidance_scale: must be at most"):
        assert told in error["message"]
    assert "fo: unknown field" in error["message"]
    assert studio.bus.asked == []


def test_a_condition_that_passes_may_be_tried_again(studio: Stage) -> None:
    studio.bus.reactions[SubmitJob] = QueueFull(retry_after_s=5.0)
    result = studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox"})
    assert (result.status_code, result.headers["retry-after"]) == (429, "5")
    assert error_in(result)["code"] == "queue_full"


@pytest.mark.parametrize(
    ("row", "status", "code"),
    [
        ({"status": "failed", "error_code": "worker_crashed", "error": "it died"}, 503, "worker_crashed"),
        ({"status": "failed", "error_code": "job_rejected", "error": "no"}, 400, "job_rejected"),
        ({"status": "cancelled"}, 400, "job_cancelled"),
    ],
)
def test_a_job_that_failed_is_not_asked_for_again(
    studio: Stage, row: dict[str, Any], status: int, code: str
) -> None:
    studio.database.add_job(2, "j2", finished_at_ms=9_000, **row)
    studio.bus.reactions[SubmitJob] = accepted("j2", "i2")
    result = studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox"})
    assert (result.status_code, error_in(result)["code"]) == (status, code)
    assert result.headers["x-should-retry"] == "false"


def test_a_job_that_is_not_finished_when_the_server_stops_is_to_be_asked_for_again(studio: Stage) -> None:
    studio.database.add_job(2, "j2")
    studio.bus.reactions[SubmitJob] = accepted("j2", "i2")
    studio.hub.close()
    result = studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox"})
    assert (result.status_code, result.headers["retry-after"]) == (503, "1")
    assert error_in(result)["code"] == "job_running"
    assert "/v1/jobs/j2" in error_in(result)["message"]
    assert "x-should-retry" not in result.headers


def test_an_image_that_is_gone_is_told(studio: Stage) -> None:
    studio.bus.reactions[ClaimDownload] = ImageGone()
    result = studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox"})
    assert (result.status_code, error_in(result)["code"]) == (410, "image_gone")


def test_a_link_downloads_the_image_and_says_so_if_it_was_changed(studio: Stage) -> None:
    result = studio.post(GENERATIONS, {"model": "studio", "prompt": "a fox", "response_format": "url"})
    (image,) = result.json["data"]
    start, _, query = image["url"].partition("/v1/images/i1/content?")
    assert start == "http://localhost"
    path = f"/v1/images/i1/content?{query}"
    assert studio.get(path).content == PNG
    changed = studio.get(path.replace("signature=", "signature=A"))
    assert (changed.status_code, changed.json["code"]) == (403, "bad_signature")
    other = studio.get(path.replace("/i1/", "/i2/"))
    assert (other.status_code, other.json["code"]) == (403, "bad_signature")
    missing = studio.get("/v1/images/i1/content")
    assert {one["field"] for one in missing.json["fields"]} == {"expires", "signature"}


def test_an_edit_has_its_image_and_a_mask_that_is_transparent(studio: Stage) -> None:
    clear = picture("PNG", 24, 24)
    fields = [text("model", "studio"), text("prompt", "a fox"), text("n", "2"), text("strength", "0.5")]
    result = posted(
        studio,
        EDITS,
        *fields,
        file("image[]", PNG),
        file("image[]", clear),
        text("mask_mode", "inverted"),
        file("mask", MASK),
    )
    assert result.status_code == 200, result.json
    request = sent(studio).request
    assert request.inputs == (InputKind.REFERENCE, InputKind.MASK)
    assert studio.bus.blobs[0] == (PNG, MASK)
    assert (request.mask_mode, request.count, request.strength) == (MaskMode.INVERTED, 2, 0.5)
    assert any("only the first one" in told for told in result.json["warnings"])


def test_a_mask_without_transparent_pixels_marks_nothing(studio: Stage) -> None:
    parts = [text("prompt", "a fox"), file("image", PNG), file("mask", MASK)]
    error = error_in(posted(studio, EDITS, *parts))
    assert (error["code"], error["param"]) == ("empty_mask", "mask")


def test_an_edit_has_the_aspect_ratio_of_its_image_unless_a_size_is_said(studio: Stage) -> None:
    wide = picture("PNG", 200, 100)
    posted(studio, EDITS, text("prompt", "a fox"), text("size", "auto"), file("image", wide))
    request = sent(studio).request
    assert (request.width_px, request.height_px) == (728, 360)
    studio.bus.asked.clear()
    posted(studio, EDITS, text("prompt", "a fox"), text("size", "64x64"), file("image", wide))
    request = sent(studio).request
    assert (request.width_px, request.height_px) == (64, 64)


def test_only_a_masked_area_has_the_size_that_the_engine_draws(studio: Stage) -> None:
    """The image then has the size of its reference image."""
    clear = BytesIO()
    Image.new("RGBA", (200, 100), (0, 0, 0, 0)).save(clear, "PNG")
    parts = [file("image", picture("PNG", 200, 100)), file("mask", clear.getvalue())]
    result = posted(studio, EDITS, text("prompt", "a fox"), text("inpaint_area", "masked"), *parts)
    assert result.status_code == 200, result.json
    request = sent(studio).request
    assert (request.width_px, request.height_px, request.mask_mode) == (None, None, MaskMode.ALPHA)


def test_an_edit_may_be_json(studio: Stage) -> None:
    studio.post(EDITS, {"prompt": "a fox", "image": [f"data:image/png;base64,{PNG_TEXT}"]})
    assert studio.bus.blobs[0] == (PNG,)


def test_a_variation_needs_an_image_alone(studio: Stage) -> None:
    assert posted(studio, VARIATIONS, file("image", PNG)).status_code == 200
    assert sent(studio).request.inputs == (InputKind.REFERENCE,)
    assert error_in(posted(studio, VARIATIONS, text("n", "1")))["param"] == "image"


def test_an_image_that_is_none_is_refused_as_image(studio: Stage) -> None:
    error = error_in(posted(studio, EDITS, text("prompt", "a fox"), file("image", b"junk")))
    assert error["message"] == "image: must be a PNG, JPEG or WebP image"


def test_unknown_parts_of_a_form_are_refused(studio: Stage) -> None:
    error = error_in(posted(studio, EDITS, text("prompt", "a"), file("image", PNG), text("foo", "1")))
    assert error["message"] == "foo: unknown field"


def test_a_transparent_background_is_that_of_a_remover(studio: Stage) -> None:
    asked = {"model": "studio", "prompt": "a fox", "background": "transparent"}
    error = error_in(studio.post(GENERATIONS, asked))
    assert error["param"] == "background"
    assert "spoon models add" in error["message"]
    studio.database.add_model("r1", name="first", model_type="background", model_base=None)
    studio.database.add_model("r2", name="second", model_type="background", model_base=None)
    result = studio.post(GENERATIONS, asked)
    assert sent(studio).request.remove_background == ("r1",)
    assert "background is removed by first, the first of 2 removers" in result.json["warnings"][0]


def test_the_same_request_sent_again_is_the_same_job(studio: Stage) -> None:
    asked = {"model": "studio", "prompt": "a fox"}
    for count in ("0", "1", "2", "0"):
        studio.post(GENERATIONS, asked, headers={"X-Stainless-Retry-Count": count})
    first, again, once_more, new = (
        key for key, ask in zip(studio.bus.keys, studio.bus.asked, strict=True) if isinstance(ask, SubmitJob)
    )
    assert first == again == once_more != new


def test_a_form_sent_again_is_the_same_job_with_another_boundary(studio: Stage) -> None:
    body = form(text("prompt", "a fox"), file("image", PNG))
    for count, boundary in ((0, b"seam"), (1, b"edge")):
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary.decode()}",
            "X-Stainless-Retry-Count": str(count),
        }
        studio.call("POST", EDITS, body=body.replace(b"--seam", b"--" + boundary), headers=headers)
    first, again = (
        key for key, ask in zip(studio.bus.keys, studio.bus.asked, strict=True) if isinstance(ask, SubmitJob)
    )
    assert first == again


def test_a_key_of_the_client_counts(studio: Stage) -> None:
    studio.post(GENERATIONS, {"prompt": "a fox"}, headers={"Idempotency-Key": "mine"})
    assert studio.bus.keys[0] == "http:mine"


def test_a_stream_has_each_image_once_it_is_there(studio: Stage) -> None:
    result = studio.post(
        GENERATIONS, {"model": "studio", "prompt": "a fox", "stream": True, "style": "vivid"}
    )
    assert result.headers["content-type"] == "text/event-stream"
    assert result.headers["x-spoon-warnings"] == "style has no effect: write it into the prompt"
    comment, _, event_text = result.text.removesuffix("\n\n").partition("\n\n")
    name, data = event_text.split("\n")
    assert comment == ": job j1"
    event = msgspec.json.decode(data.removeprefix("data: "))
    assert name == "event: image_generation.completed"
    assert event["type"] == "image_generation.completed"
    assert base64.b64decode(event["b64_json"]) == PNG
    assert event["warnings"] == ["style has no effect: write it into the prompt", "a word was cut"]
    assert {"created_at", "size", "quality", "background", "output_format", "usage"} <= event.keys()
    assert studio.bus.told == [SENT]


@pytest.mark.parametrize(("stream", "code"), [(True, "too_many_streams"), (False, "too_many_waits")])
def test_a_request_for_which_there_is_no_room_submits_no_job(studio: Stage, stream: bool, code: str) -> None:
    server = msgspec.structs.replace(studio.settings.server, max_streams=0, max_waits=0)
    full = msgspec.structs.replace(studio.settings, server=server)
    studio.app = make_app(full, studio.bus, studio.reader, studio.hub, lambda: NOW_MS)
    result = studio.post(GENERATIONS, {"prompt": "a fox", "stream": stream})
    assert (result.status_code, error_in(result)["code"]) == (429, code)
    assert studio.bus.asked == []


def test_a_stream_tells_an_error_in_its_data(studio: Stage) -> None:
    told = {"error_code": "out_of_memory", "error": "too big"}
    studio.database.add_job(2, "j2", status="failed", finished_at_ms=9_000, spec=SPEC, **told)
    studio.bus.reactions[SubmitJob] = accepted("j2", "i2")
    result = studio.post(GENERATIONS, {"prompt": "a fox", "stream": True})
    data = msgspec.json.decode(result.text.partition("data: ")[2])
    assert data["error"]["message"] == "too big"
    assert data["error"]["code"] == "out_of_memory"


def test_a_stream_is_told_of_the_end_of_the_server(studio: Stage) -> None:
    studio.database.add_job(2, "j2")
    studio.bus.reactions[SubmitJob] = accepted("j2", "i2")
    studio.hub.close()
    result = studio.post(GENERATIONS, {"prompt": "a fox", "stream": True})
    assert "the server is stopping" in result.text


def test_models_are_listed_for_both_kinds_of_clients(studio: Stage) -> None:
    studio.database.add_model("m2", name="fur", model_type="lora")
    body = studio.get("/v1/models").json
    assert [item["model_id"] for item in body["items"]] == ["m2", "m1"]
    assert (body["object"], body["next"]) == ("list", None)
    assert body["data"] == [
        {"id": "studio", "object": "model", "created": 1, "owned_by": "automatic-spoon"},
        {"id": "dreams", "object": "model", "created": 1, "owned_by": "automatic-spoon"},
    ]


def test_a_model_is_shown_to_both_kinds_of_clients(studio: Stage) -> None:
    body = studio.get("/v1/models/dreams").json
    assert (body["model_id"], body["id"], body["object"], body["created"]) == ("m1", "dreams", "model", 1)
    assert studio.get("/v1/models/studio").json == {
        "id": "studio",
        "object": "model",
        "created": 1,
        "owned_by": "automatic-spoon",
    }
    assert studio.get("/v1/models/none").json["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", GENERATIONS, 405), ("DELETE", EDITS, 405), ("PATCH", VARIATIONS, 405), ("GET", VARIATIONS, 405)],
)
def test_the_routes_are_no_images(studio: Stage, method: str, path: str, status: int) -> None:
    result = studio.call(method, path)
    assert (result.status_code, error_in(result)["code"]) == (status, "method_not_allowed")


def test_no_hub_keeps_a_request_that_was_answered(studio: Stage) -> None:
    """Its subscription ends with it."""
    studio.post(GENERATIONS, {"prompt": "a fox"})
    studio.post(GENERATIONS, {"prompt": "a fox", "stream": True})
    assert vars(studio.hub)["_of_id"] == vars(Hub())["_of_id"]


def test_the_size_of_a_response_is_that_of_its_images(studio: Stage) -> None:
    studio.database.add_job(
        2,
        "j2",
        spec=msgspec.structs.replace(SPEC, count=2),
        status="finished",
        finished_at_ms=9_000,
        image_ids='["i2"]',
    )
    studio.database.add_image("i2", "j2", width_px=100, height_px=80, file_name="i1.png")
    studio.bus.reactions[SubmitJob] = accepted("j2", "i2")
    assert studio.post(GENERATIONS, {"prompt": "a fox"}).json["size"] == "100x80"
