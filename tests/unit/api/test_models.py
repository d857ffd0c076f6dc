"""/v1/models"""

from typing import Any

import pytest

from api.http.framework.request_head import SLASH
from kernel.protocol.client import (
    DeleteModel,
    Done,
    ModelAccepted,
    ModelProgress,
    ModelsPruned,
    PruneModels,
    RegisterModel,
    RetryModel,
)
from kernel.protocol.enums import ModelBase, ModelState, ModelType, Variant
from kernel.protocol.errors import ModelInUse
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Preparation
from tests.unit.api.stage import Stage, fields_of

GOOD = {"name": "tiny", "path": "file:///models/tiny.safetensors", "model_type": "checkpoint"}


def accept(stage: Stage, status: ModelState, *, created: bool = True) -> None:
    stage.bus.reactions[RegisterModel] = ModelAccepted(model_id=ModelId("m1"), status=status, created=created)


def test_a_model_in_inspection_is_accepted(stage: Stage) -> None:
    stage.database.add_model("m1", status="downloading")
    accept(stage, ModelState.DOWNLOADING)
    result = stage.post("/v1/models", GOOD)
    assert (result.status_code, result.json["status"]) == (202, "downloading")
    assert result.headers["location"] == "/v1/models/m1"


@pytest.mark.parametrize(("created", "status"), [(True, 201), (False, 200)])
def test_a_ready_model_is_created_once(stage: Stage, created: bool, status: int) -> None:
    stage.database.add_model("m1")
    accept(stage, ModelState.READY, created=created)
    assert stage.post("/v1/models", GOOD).status_code == status


def test_every_field_reaches_the_manager(stage: Stage) -> None:
    stage.database.add_model("m1")
    accept(stage, ModelState.READY)
    stage.post(
        "/v1/models",
        {
            "name": "fur",
            "path": "FILE://localhost/models/fur.safetensors",
            "model_type": "LoRA",
            "model_base": "SDXL",
            "variant": "Float16",
            "tags": ["cats", "cats", "fur"],
            "sha256": "A" * 64,
            "trigger_words": ["furry"],
        },
        headers={"Idempotency-Key": "k"},
    )
    assert stage.last_ask == RegisterModel(
        name="fur",
        uri="file:///models/fur.safetensors",
        model_type=ModelType.LORA,
        model_base=ModelBase.SDXL,
        variant=Variant.FP16,
        tags=("cats", "fur"),
        sha256="a" * 64,
        trigger_words=("furry",),
    )
    assert stage.bus.keys == ["http:k"]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("https://example.org/a.safetensors?v=1", "https://example.org/a.safetensors?v=1"),
        ("HTTPS://example.org/localhost", "https://example.org/localhost"),
        ("http://192.168.1.5:8080/a", "http://192.168.1.5:8080/a"),
        ("hf://owner/repo@v1.0/a/b.safetensors", "hf://owner/repo@v1.0/a/b.safetensors"),
        ("FILE:///models/a", "file:///models/a"),
        ("civitai:12345@67890", "civitai:12345@67890"),
        ("urn:air:sdxl:checkpoint:civitai:12345", "civitai:12345"),
        ("HTTPS://civitai.com/models/12345/furry?modelVersionId=67890", "civitai:12345@67890"),
    ],
)
def test_a_model_comes_from_any_source(stage: Stage, path: str, uri: str) -> None:
    stage.database.add_model("m1", status="downloading")
    accept(stage, ModelState.DOWNLOADING)
    assert stage.post("/v1/models", GOOD | {"path": path}).status_code == 202
    assert isinstance(stage.last_ask, RegisterModel)
    assert stage.last_ask.uri == uri


def test_a_name_without_a_path_is_a_repository_of_the_hub(stage: Stage) -> None:
    stage.database.add_model("m1", status="downloading")
    accept(stage, ModelState.DOWNLOADING)
    stage.post("/v1/models", {"name": "owner/dreams", "model_type": "checkpoint"})
    assert isinstance(stage.last_ask, RegisterModel)
    assert (stage.last_ask.name, stage.last_ask.uri) == ("owner/dreams", "hf://owner/dreams")
    result = stage.post("/v1/models", {"name": "dreams", "model_type": "checkpoint"})
    assert (result.status_code, list(fields_of(result))) == (422, ["path"])


def test_what_an_air_says_about_its_model_is_taken_and_must_fit(stage: Stage) -> None:
    stage.database.add_model("m1", status="downloading")
    accept(stage, ModelState.DOWNLOADING)
    said = {"name": "fur", "path": "urn:air:sdxl:lora:civitai:12345@67890", "model_type": "lora"}
    stage.post("/v1/models", said)
    assert isinstance(stage.last_ask, RegisterModel)
    assert stage.last_ask.model_base is ModelBase.SDXL
    result = stage.post("/v1/models", said | {"model_type": "checkpoint", "model_base": "sd"})
    assert result.status_code == 422
    assert fields_of(result) == {
        "model_type": "is checkpoint, but path says lora: leave out one, or correct it",
        "model_base": "is sd, but path says sdxl: leave out one, or correct it",
    }


@pytest.mark.parametrize("kind", ["ip_adapter", "IP-Adapter", "upscaler"])
def test_a_type_of_a_later_version_is_not_supported_yet(stage: Stage, kind: str) -> None:
    result = stage.post("/v1/models", GOOD | {"model_type": kind})
    assert (result.status_code, result.json["code"]) == (422, "not_supported")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "a\nb"),
        ("name", "x" * 201),
        ("name", 5),
        ("path", "/models/a.safetensors"),
        ("path", "file://models/a.safetensors"),
        ("path", "ftp://models/a"),
        ("path", "upload:" + "0" * 32 + "/a.safetensors"),
        ("path", "stored:files/" + "0" * 64 + ".safetensors"),
        ("path", "https://user:password@example.org/a"),
        ("path", "https://user@example.org/a"),
        ("path", "https://"),
        ("path", "https:///a"),
        ("path", "https://example.org:99999/a"),
        ("path", "https://exa mple.org/a"),
        ("path", "https://example.org\\@127.0.0.1/a"),
        ("path", "http://2130706433/a"),
        ("path", "http://0x7f000001/a"),
        ("path", "http://0177.0.0.1/a"),
        ("path", "http://127.1/a"),
        ("path", "http://[fe80::1%25eth0]/a"),
        ("path", "hf://owner"),
        ("path", "hf://owner/repo/../../secret"),
        ("path", "hf://owner/re po"),
        ("path", "hf://../repo"),
        ("path", "file:///a\x00b"),
        ("path", "civitai:furry"),
        ("path", "urn:air:flux1:checkpoint:civitai:1"),
        ("path", "https://civitai.com/images/1"),
        ("path", ""),
        ("model_type", "model"),
        ("model_base", "sd3"),
        ("variant", "fp8"),
        ("tags", "cats"),
        ("tags[1]", ["a", ""]),
        ("tags[0]", ["a\nb"]),
        ("tags", ["a"] * 65),
        ("sha256", "abc"),
        ("sha256", "g" * 64),
        ("sha256", "a" * 64 + "\n"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(stage: Stage, field: str, value: Any) -> None:
    result = stage.post("/v1/models", GOOD | {field.partition("[")[0]: value})
    assert (result.status_code, result.json["code"]) == (422, "invalid_field")
    assert list(fields_of(result)) == [field]


def test_what_is_missing_is_named(stage: Stage) -> None:
    result = stage.post("/v1/models", {})
    assert {name: fields_of(result)[name] for name in ("name", "model_type")} == {
        "name": "is required",
        "model_type": "is required",
    }


def test_a_model_shows_its_progress_only_while_it_is_read(stage: Stage) -> None:
    stage.database.add_model("m1", status="downloading")
    stage.hub.publish(ModelProgress(model_id=ModelId("m1"), bytes=5, total_bytes=10, bytes_per_s=2))
    progress = stage.get("/v1/models/m1").json["progress"]
    assert progress == {"bytes": 5, "total_bytes": 10, "bytes_per_s": 2}
    stage.database.set("model", "model_id", "m1", status="ready")
    assert stage.get("/v1/models/m1").json["progress"] is None


def test_a_failed_model_says_why(stage: Stage) -> None:
    stage.database.add_model("m1", status="error", error_code="model_unreadable", error="it is a pickle")
    assert stage.get("/v1/models/m1").json["error"] == {
        "code": "model_unreadable",
        "detail": "it is a pickle",
    }


def test_models_are_listed_by_what_is_asked_for(stage: Stage) -> None:
    stage.database.add_model("m1")
    stage.database.add_model("m2", model_type="lora")
    page = stage.get("/v1/models", query_string="model_type=LoRA&limit=1").json
    assert ([item["model_id"] for item in page["items"]], page["next"]) == (["m2"], None)


def test_a_model_is_deleted(stage: Stage) -> None:
    stage.database.add_model("m1")
    stage.bus.reactions[DeleteModel] = Done()
    assert stage.call("DELETE", "/v1/models/m1").status_code == 204
    assert stage.last_ask == DeleteModel(model_id=ModelId("m1"))


def test_a_model_in_use_is_kept(stage: Stage) -> None:
    stage.database.add_model("m1")
    stage.bus.reactions[DeleteModel] = ModelInUse("used by the engines e1, e2")
    result = stage.call("DELETE", "/v1/models/m1")
    assert (result.status_code, result.json["detail"]) == (409, "used by the engines e1, e2")


def test_downloaded_files_go_too_if_that_is_wanted(stage: Stage) -> None:
    stage.database.add_model("m1")
    stage.bus.reactions[DeleteModel] = Done()
    assert stage.call("DELETE", "/v1/models/m1", query_string="files=true").status_code == 204
    assert stage.last_ask == DeleteModel(model_id=ModelId("m1"), files=True)


@pytest.mark.parametrize("path", ["m1", "owner%2Fdreams"])
def test_a_path_has_an_id_or_a_name_even_one_with_a_slash(stage: Stage, path: str) -> None:
    stage.database.add_model("m1", name="owner/dreams")
    assert stage.get(f"/v1/models/{path.replace('%2F', SLASH)}").json["model_id"] == "m1"


def test_an_id_goes_before_a_name_and_a_name_of_two_is_refused_with_their_ids(stage: Stage) -> None:
    stage.database.add_model("m1", name="dreams")
    stage.database.add_model("m2", name="m1")
    stage.database.add_model("m3", name="dreams")
    assert stage.get("/v1/models/m1").json["model_id"] == "m1"
    result = stage.call("DELETE", "/v1/models/dreams")
    assert (result.status_code, result.json["code"]) == (409, "name_ambiguous")
    assert all(model_id in result.json["detail"] for model_id in ("m1", "m3"))
    assert not stage.bus.asked, "nothing is deleted"


def test_a_model_is_tried_again(stage: Stage) -> None:
    stage.database.add_model("m1", status="downloading")
    stage.bus.reactions[RetryModel] = ModelAccepted(model_id=ModelId("m1"), status=ModelState.DOWNLOADING)
    assert stage.post("/v1/models/m1/retry").status_code == 202


def test_an_unknown_model_is_not_found(stage: Stage) -> None:
    result = stage.get("/v1/models/m9")
    assert (result.status_code, result.json["code"]) == (404, "model_not_found")


def test_words_of_the_models_own_stand_in_for_those_that_nobody_gave(stage: Stage) -> None:
    stage.database.add_model("m1", found_words='["snow"]', revision="c" * 40)
    stage.database.add_model("m2", found_words='["snow"]', trigger_words='["ice"]')
    shown = stage.get("/v1/models/m1").json
    assert (shown["trigger_words"], shown["revision"]) == (["snow"], "c" * 40)
    assert stage.get("/v1/models/m2").json["trigger_words"] == ["ice"]


@pytest.mark.parametrize(
    ("size", "expected"), [(320, (320, 320)), ([320], (320, 320)), ([640, 480], (640, 480)), (None, None)]
)
def test_how_a_background_remover_wants_its_pictures_reaches_the_manager(
    stage: Stage, size: object, expected: tuple[int, int] | None
) -> None:
    stage.database.add_model("m1")
    accept(stage, ModelState.READY)
    more = {"model_type": "background", "input_size": size, "mean": [0, 0.5, 1], "std": [1, 1, 1]}
    stage.post("/v1/models", GOOD | more)
    ask = stage.last_ask
    assert isinstance(ask, RegisterModel)
    assert ask.preparation == Preparation(input_size=expected, mean=(0.0, 0.5, 1.0), std=(1.0, 1.0, 1.0))


def test_what_was_said_of_a_background_remover_is_shown(stage: Stage) -> None:
    stage.database.add_model("m1", preparation='{"input_size": [640, 480], "mean": null, "std": [1, 1, 0.5]}')
    shown = stage.get("/v1/models/m1").json
    assert (shown["input_size"], shown["mean"], shown["std"]) == ([640, 480], None, [1.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean", [0.5]),
        ("mean", [123.7, 116.3, 103.5]),
        ("std", [0, 1, 1]),
        ("input_size", [1, 1]),
        ("input_size", [64, 64, 64]),
        ("input_size", "64x64"),
    ],
)
def test_what_no_background_remover_can_want_is_refused(stage: Stage, field: str, value: object) -> None:
    refused = stage.post("/v1/models", GOOD | {"model_type": "background", field: value})
    assert refused.status_code == 422
    assert next(iter(fields_of(refused))).startswith(field)


def test_only_background_removers_say_how_they_want_their_pictures(stage: Stage) -> None:
    refused = stage.post("/v1/models", GOOD | {"mean": [0.5, 0.5, 0.5], "input_size": 64})
    assert set(fields_of(refused)) == {"mean", "input_size"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_files_of_deleted_models_are_removed_or_counted(stage: Stage, dry_run: bool) -> None:
    stage.bus.reactions[PruneModels] = ModelsPruned(models=2, size_bytes=90)
    result = stage.post("/v1/models/prune", {"dry_run": dry_run})
    assert (result.status_code, result.json) == (200, {"models": 2, "size_bytes": 90, "dry_run": dry_run})
    assert stage.last_ask == PruneModels(dry_run=dry_run)
