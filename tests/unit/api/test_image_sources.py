"""/v1/images/{image_id}/reference, /mask, /pose, /pose_map: what an image was made from."""

import hashlib
from typing import Any

import pytest

from tests.unit.api.rich_job import RICH_SPEC
from tests.unit.api.stage import NOW_MS, Stage, fields_of

FILES = {
    "reference": b"reference" * 1_000,
    "mask": b"mask" * 1_000,
    "pose": b"pose" * 1_000,
    "map_openpose": b"openpose" * 1_000,
}


@pytest.fixture(autouse=True)
def a_picture_made_from_pictures(stage: Stage) -> None:
    stage.database.add_engine("e1")
    stage.database.add_job(1, "j1", spec=RICH_SPEC, status="finished")
    stage.database.add_image("i1", "j1")
    stage.settings.blobs.folder.mkdir()
    for kind, data in FILES.items():
        (stage.settings.blobs.folder / f"j1-{kind}.png").write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        stage.database.add_blob("j1", kind, size_bytes=len(data), sha256=sha256)


@pytest.mark.parametrize(
    ("path", "query", "kind"),
    [
        ("reference", "", "reference"),
        ("mask", "", "mask"),
        ("pose", "", "pose"),
        ("pose_map", "type=openpose", "map_openpose"),
        ("pose_map", "type=OpenPose", "map_openpose"),
        ("pose_map", "type=canny", "pose"),
    ],
    ids=["reference", "mask", "pose", "a map", "in any case", "a map that came along"],
)
def test_what_an_image_was_made_from_can_be_had(stage: Stage, path: str, query: str, kind: str) -> None:
    result = stage.get(f"/v1/images/i1/{path}", query_string=query)
    assert (result.status_code, result.content) == (200, FILES[kind])
    assert result.headers["content-type"] == "image/png"
    assert result.headers["content-length"] == str(len(FILES[kind]))
    assert result.headers["etag"] == f'"{hashlib.sha256(FILES[kind]).hexdigest()}"'
    assert result.headers["content-disposition"] == f'inline; filename="i1-{kind}.png"'


def test_what_the_client_has_is_not_sent_again(stage: Stage) -> None:
    tag = stage.call("HEAD", "/v1/images/i1/reference").headers["etag"]
    result = stage.get("/v1/images/i1/reference", headers={"If-None-Match": tag})
    assert (result.status_code, result.content, result.headers["etag"]) == (304, b"", tag)


def test_which_of_several_maps_is_meant_has_to_be_said(stage: Stage) -> None:
    result = stage.get("/v1/images/i1/pose_map")
    assert fields_of(result) == {"type": "is required: the image has maps of types openpose, canny"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("type=depth", 404, "no_such_input"),
        ("type=fingers", 422, "invalid_field"),
        ("kind=openpose", 422, "invalid_field"),
    ],
)
def test_a_map_that_there_is_not(stage: Stage, query: str, status: int, code: str) -> None:
    result = stage.get("/v1/images/i1/pose_map", query_string=query)
    assert (result.status_code, result.json["code"]) == (status, code)


@pytest.mark.parametrize(
    "values", [{"expires_at_ms": NOW_MS}, {"file_name": "no_such_file.png"}], ids=["expired", "file gone"]
)
def test_what_is_no_longer_there_is_gone(stage: Stage, values: dict[str, Any]) -> None:
    stage.database.set("blob", "blob_id", "j1-reference", **values)
    result = stage.get("/v1/images/i1/reference")
    assert (result.status_code, result.json["code"]) == (410, "input_gone")
    assert "expired" in result.json["detail"]


def test_what_was_deleted_is_gone(stage: Stage) -> None:
    stage.database.connection.execute("DELETE FROM blob")
    assert stage.get("/v1/images/i1/mask").status_code == 410


def test_a_map_may_still_be_on_its_way(stage: Stage) -> None:
    stage.database.connection.execute("DELETE FROM blob")
    stage.database.set("job", "job_id", "j1", status="processing")
    result = stage.get("/v1/images/i1/pose_map", query_string="type=openpose")
    assert (result.status_code, result.json["code"]) == (404, "no_such_input")
    assert "not available yet" in result.json["detail"]


def test_a_name_that_leads_out_of_the_folder_is_never_opened(stage: Stage) -> None:
    stage.database.set("blob", "blob_id", "j1-pose", file_name="../spoon.sqlite3")
    assert stage.get("/v1/images/i1/pose").status_code == 502
