"""Images of the server as input images of jobs: by their ids, with the caller's rights, uncounted."""

import hashlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import InputKind
from kernel.protocol.ids import ImageId
from tests.unit.api.fake_bus import accepted
from tests.unit.api.forms import HEADERS, file, form, text
from tests.unit.api.sample_pictures import JPEG, PNG, PNG_TEXT, WEBP
from tests.unit.api.stage import NOW_MS, Stage, fields_of
from tests.unit.views.database import SPEC

_FILE = BytesIO()
Image.new("L", (64, 64)).save(_FILE, "PNG")
BLACK = _FILE.getvalue()
ENGINE = {"engine_id": "e1"}


def keep(stage: Stage, image_id: str, data: bytes, job_id: str = "j1", **values: Any) -> None:
    (stage.settings.images.folder / f"{image_id}.png").write_bytes(data)
    about = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    stage.database.add_image(image_id, job_id, **(about | values))


@pytest.fixture(autouse=True)
def images(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = accepted()
    stage.database.add_engine("e1", "portraits")
    stage.database.add_job(1, "j1", spec=SPEC)
    keep(stage, "i1", PNG, download_limit=1)
    keep(stage, "i2", WEBP, mime="image/webp")


def test_an_image_is_sent_as_it_is_stored_and_no_download_is_claimed(stage: Stage) -> None:
    job = ENGINE | {"reference_image_id": "i1", "mask_image_id": "i2", "strength": 0.5}
    assert stage.post("/v1/jobs", job).status_code == 202
    (ask,) = stage.bus.asked
    assert isinstance(ask, SubmitJob)
    assert ask.request.inputs == (InputKind.REFERENCE, InputKind.MASK)
    assert stage.bus.blobs == [(PNG, WEBP)]
    assert ask.files[1].sha256 == hashlib.sha256(WEBP).hexdigest()


def test_a_form_names_one_and_brings_another(stage: Stage) -> None:
    parts = (text("engine_id", "e1"), text("reference_image_id", "i1"), file("pose_image_blob", JPEG))
    result = stage.post("/v1/jobs", body=form(*parts, text("type_pose", "canny")), headers=HEADERS)
    assert result.status_code == 202
    assert stage.bus.blobs == [(PNG, JPEG)]


def test_it_takes_the_place_of_what_a_job_like_another_has(stage: Stage) -> None:
    result = stage.post("/v1/jobs", {"like": "i2", "reference_image_id": "i1", "strength": 0.3})
    assert result.status_code == 202
    assert stage.bus.blobs == [(PNG,)]
    again = stage.post("/v1/jobs?validate_only=true", {"like": "i2", "reference_image_id": "gone"})
    assert (again.status_code, list(fields_of(again))) == (404, ["reference_image_id"])


@pytest.mark.parametrize("field", ["reference_image_id", "mask_image_id", "pose_image_id"])
@pytest.mark.parametrize(
    ("image_id", "status", "code"),
    [("i9", 404, "image_not_found"), ("i3", 410, "image_gone"), ("i4", 410, "image_gone"),
     ("i5", 410, "image_gone"), ("i6", 410, "image_gone")],
    ids=["unknown", "deleted", "expired", "lost", "changed"],
)  # fmt: skip
def test_one_that_is_not_there_is_told_by_its_field(
    stage: Stage, field: str, image_id: str, status: int, code: str
) -> None:
    keep(stage, "i3", PNG, gone_reason="deleted", gone_at_ms=1)
    keep(stage, "i4", PNG, expires_at_ms=NOW_MS - 1)
    keep(stage, "i5", PNG)
    (stage.settings.images.folder / "i5.png").unlink()
    keep(stage, "i6", PNG, sha256="0" * 64)
    job = ENGINE | {"reference_image_id": "i1", "type_pose": "canny", field: image_id}
    if field != "pose_image_id":
        del job["type_pose"]
    result = stage.post("/v1/jobs", job)
    assert (result.status_code, result.json["code"]) == (status, code)
    assert list(fields_of(result)) == [field]
    assert stage.bus.asked == []


def test_an_image_of_another_key_is_not_found(stage: Stage) -> None:
    own, other = stage.add_key("own", "user"), stage.add_key("other", "user")
    stage.database.add_job(2, "j2", spec=SPEC, key_id=stage.keys["own"])
    keep(stage, "o1", JPEG, "j2", mime="image/jpeg")
    job = ENGINE | {"reference_image_id": "o1"}
    assert stage.post("/v1/jobs", job, headers={"Authorization": f"Bearer {own}"}).status_code == 202
    refused = stage.post("/v1/jobs", job, headers={"Authorization": f"Bearer {other}"})
    assert (refused.status_code, list(fields_of(refused))) == (404, ["reference_image_id"])


@pytest.mark.parametrize(
    ("job", "fields"),
    [
        ({"reference_image_id": "i1", "reference_image_blob": PNG_TEXT}, ["reference_image_id"]),
        ({"mask_image_id": "i1"}, ["mask_image_id"]),
        ({"reference_image_id": ""}, ["reference_image_id"]),
    ],
    ids=["both", "mask-alone", "empty"],
)
def test_what_does_not_fit_is_told(stage: Stage, job: dict[str, Any], fields: list[str]) -> None:
    result = stage.post("/v1/jobs", ENGINE | job)
    assert (result.status_code, list(fields_of(result))) == (422, fields)


def test_a_mask_that_marks_nothing_is_told_by_its_id(stage: Stage) -> None:
    keep(stage, "black", BLACK)
    result = stage.post("/v1/jobs", ENGINE | {"reference_image_id": "i1", "mask_image_id": "black"})
    assert (result.status_code, result.json["code"]) == (422, "empty_mask")
    assert list(fields_of(result)) == ["mask_image_id"]


def test_a_preset_has_no_images(stage: Stage) -> None:
    result = stage.call("PUT", "/v1/presets/p", {"reference_image_id": ImageId("i1")})
    assert list(fields_of(result)) == ["reference_image_id"]
