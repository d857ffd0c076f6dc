"""/v1/images and their files"""

import hashlib
from pathlib import Path

import pytest

from kernel.protocol.client import (
    ApiAsk,
    ClaimDownload,
    DeleteImage,
    Done,
    DownloadGranted,
    EditImage,
    FinishDownload,
)
from kernel.protocol.enums import GONE_TEXTS, GoneReason
from kernel.protocol.errors import ImageGone
from kernel.protocol.ids import ImageId, Ticket
from tests.unit.api.rich_job import RICH_SPEC
from tests.unit.api.stage import NOW_MS, Stage, fields_of

FILE = bytes(range(256)) * 100
SHA256 = hashlib.sha256(FILE).hexdigest()
FINISHED = FinishDownload(image_id=ImageId("i1"), ticket=Ticket("t1"), whole=True)
BROKEN = FinishDownload(image_id=ImageId("i1"), ticket=Ticket("t1"), whole=False)


def grant(stage: Stage, file_name: str = "i1.png", *, is_limited: bool = False) -> None:
    stage.bus.reactions[ClaimDownload] = DownloadGranted(
        ticket=Ticket("t1"), file_name=file_name, is_limited=is_limited
    )


@pytest.fixture(autouse=True)
def an_image(stage: Stage) -> None:
    stage.database.add_engine("e1")
    stage.database.add_job(1, "j1")
    stage.database.add_image("i1", "j1", size_bytes=len(FILE), sha256=SHA256)
    (stage.settings.images.folder / "i1.png").write_bytes(FILE)
    grant(stage)


def test_an_image_shows_its_whole_recipe(stage: Stage) -> None:
    assert stage.get("/v1/images/i1").json == {
        "image_id": "i1",
        "job_id": "j1",
        "engine_id": "e1",
        "checkpoint": "m1",
        "index": 0,
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
        "seed": 0,
        "steps": 20,
        "cfg": 7.5,
        "scheduler": "euler",
        "scheduler_config": {},
        "width": 512,
        "height": 768,
        "reference_image_path": None,
        "strength": None,
        "mask_image_path": None,
        "image_fit": None,
        "mask_mode": None,
        "mask_blur": None,
        "inpaint_area": None,
        "inpaint_padding": None,
        "inpaint_fill": None,
        "pose_image_path": None,
        "type_pose": [],
        "controls": [],
        "poses": {
            "openpose_path": None,
            "midas_path": None,
            "mediapipe_path": None,
            "canny_path": None,
            "depth_path": None,
        },
        "remove_background": [],
        "inputs": [],
        "guidance_rescale": None,
        "eta": None,
        "count": 1,
        "previews": False,
        "expire_after_s": None,
        "delete_after_downloads": None,
        "give_up_after_s": None,
        "background_color": None,
        "image_file_type": "png",
        "quality": 90,
        "tags": [],
        "favorite": False,
        "note": None,
        "key_id": None,
        "names": {},
        "mime": "image/png",
        "size_bytes": len(FILE),
        "sha256": SHA256,
        "download": "/v1/images/i1/download",
        "downloads": 0,
        "download_limit": None,
        "gone": None,
        "created_at": "1970-01-01T00:00:02Z",
        "expires_at": None,
    }


def test_a_recipe_says_where_its_pictures_are(stage: Stage) -> None:
    stage.database.add_job(2, "j2", spec=RICH_SPEC)
    stage.database.add_image("i2", "j2")
    found = stage.get("/v1/images/i2").json
    assert found["reference_image_path"] == "/v1/images/i2/reference"
    assert found["mask_image_path"] == "/v1/images/i2/mask"
    assert found["pose_image_path"] == "/v1/images/i2/pose"
    assert found["poses"]["openpose_path"] == "/v1/images/i2/pose_map?type=openpose"
    assert found["poses"]["canny_path"] == "/v1/images/i2/pose", "what came along is the map already"
    assert found["poses"]["midas_path"] is None
    assert (found["remove_background"], found["background_color"]) == (["b1"], "#00ff00")


def test_a_whole_download_is_counted(stage: Stage) -> None:
    result = stage.get("/v1/images/i1/download")
    assert (result.status_code, result.content) == (200, FILE)
    assert result.headers["content-type"] == "image/png"
    assert result.headers["content-length"] == str(len(FILE))
    assert result.headers["etag"] == f'"{SHA256}"'
    assert result.headers["content-disposition"] == 'inline; filename="i1.png"'
    assert stage.bus.told == [FINISHED]


def test_a_range_is_a_part_and_is_not_counted(stage: Stage) -> None:
    result = stage.get("/v1/images/i1/download", headers={"Range": "bytes=10-19"})
    assert (result.status_code, result.content) == (206, FILE[10:20])
    assert result.headers["content-range"] == f"bytes 10-19/{len(FILE)}"
    assert stage.bus.told == [BROKEN]


def test_a_range_behind_the_end_cannot_be_had(stage: Stage) -> None:
    result = stage.get("/v1/images/i1/download", headers={"Range": f"bytes={len(FILE)}-"})
    assert (result.status_code, result.json["code"]) == (416, "range_not_satisfiable")
    assert result.headers["content-range"] == f"bytes */{len(FILE)}"
    assert stage.bus.told == [BROKEN]


@pytest.mark.parametrize("tag", [f'"{SHA256}"', f'W/"{SHA256}"', "*", f'"x", "{SHA256}"'])
def test_what_the_client_has_is_not_sent_and_not_counted(stage: Stage, tag: str) -> None:
    result = stage.get("/v1/images/i1/download", headers={"If-None-Match": tag})
    assert (result.status_code, result.content) == (304, b"")
    assert result.headers["etag"] == f'"{SHA256}"'
    assert stage.bus.asked == []


def test_the_rest_of_another_file_is_sent_whole(stage: Stage) -> None:
    headers = {"Range": "bytes=10-", "If-Range": '"another"'}
    assert stage.get("/v1/images/i1/download", headers=headers).status_code == 200
    headers = {"Range": "bytes=10-", "If-Range": f'"{SHA256}"'}
    assert stage.get("/v1/images/i1/download", headers=headers).status_code == 206


def test_a_limited_image_goes_out_whole_whatever_the_range(stage: Stage) -> None:
    grant(stage, is_limited=True)
    result = stage.get("/v1/images/i1/download", headers={"Range": "bytes=0-0"})
    assert (result.status_code, result.content) == (200, FILE)
    assert stage.bus.told == [FINISHED]


def test_head_is_not_counted(stage: Stage) -> None:
    result = stage.call("HEAD", "/v1/images/i1/download")
    assert (result.status_code, result.headers["content-length"]) == (200, str(len(FILE)))
    assert (stage.bus.asked, stage.bus.told) == ([], [])


@pytest.mark.parametrize("reason", ["expired", "used_up", "quota", "deleted"])
def test_a_gone_image_says_why(stage: Stage, reason: str) -> None:
    stage.database.set("image", "image_id", "i1", gone_reason=reason, gone_at_ms=3_000)
    result = stage.get("/v1/images/i1/download")
    assert (result.status_code, result.json["code"]) == (410, "image_gone")
    assert result.json["detail"] == GONE_TEXTS[GoneReason(reason)]
    assert stage.get("/v1/images/i1").json["gone"] == {"reason": reason, "at": "1970-01-01T00:00:03Z"}


def test_an_image_is_gone_the_moment_its_time_is_over(stage: Stage) -> None:
    stage.database.set("image", "image_id", "i1", expires_at_ms=NOW_MS + 1)
    assert stage.get("/v1/images/i1/download").status_code == 200
    stage.database.set("image", "image_id", "i1", expires_at_ms=NOW_MS)
    assert stage.get("/v1/images/i1/download").status_code == 410


def test_the_last_word_on_a_download_is_the_managers(stage: Stage) -> None:
    stage.bus.reactions[ClaimDownload] = ImageGone("image i1 is gone: used_up")
    assert stage.get("/v1/images/i1/download").status_code == 410


def test_a_file_that_is_not_there_is_gone(stage: Stage) -> None:
    (stage.settings.images.folder / "i1.png").unlink()
    assert stage.get("/v1/images/i1/download").status_code == 410
    assert stage.bus.told == [BROKEN]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b.png", "..", ".", "", "a\x00b"])
def test_a_name_that_leads_out_of_the_folder_is_never_opened(stage: Stage, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("no")
    grant(stage, name)
    result = stage.get("/v1/images/i1/download")
    assert (result.status_code, result.json["code"]) == (502, "bad_message")
    assert stage.bus.told == [BROKEN]


def test_an_unknown_image_is_not_found(stage: Stage) -> None:
    for path in ("", "/download", "/reference", "/mask", "/pose", "/pose_map"):
        result = stage.get(f"/v1/images/i9{path}")
        assert (result.status_code, result.json["code"]) == (404, "image_not_found")


@pytest.mark.parametrize("path", ["reference", "mask", "pose", "pose_map", "pose_map?type=canny"])
def test_an_image_was_made_without_inputs(stage: Stage, path: str) -> None:
    path, _, query = path.partition("?")
    result = stage.get(f"/v1/images/i1/{path}", query_string=query)
    assert (result.status_code, result.json["code"]) == (404, "no_such_input")


def test_images_are_listed_by_what_is_asked_for(stage: Stage) -> None:
    stage.database.add_image("i2", "j1", gone_reason="deleted", gone_at_ms=1)
    assert [one["image_id"] for one in stage.get("/v1/images").json["items"]] == ["i2", "i1"]
    found = stage.get("/v1/images", query_string="gone=false&job_id=j1&engine_id=e1").json["items"]
    assert [one["image_id"] for one in found] == ["i1"]


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("prompt=CAT%20a&seed=0&height=768", True),
        ("prompt=dog", False),
        ("checkpoint=m1&engine=e1&lora=none", False),
        ("created_after=8s&created_before=1970-01-01T01:00:02.001%2B01:00", True),
        ("created_before=1970-01-01T00:00:02Z", False),
        ("created_after=1970-01-01", True),
        ("favorite=false", True),
        ("tag=best", False),
    ],
)
def test_images_are_searched(stage: Stage, query: str, is_found: bool) -> None:
    found = stage.get("/v1/images", query_string=query).json
    assert [one["image_id"] for one in found["items"]] == ["i1"] * is_found
    assert found["next"] is None


def test_a_search_goes_on_at_its_cursor_in_either_order(stage: Stage) -> None:
    stage.database.add_image("i2", "j1")
    for order, ids in (("newest", ["i2", "i1"]), ("Oldest", ["i1", "i2"])):
        query = f"seed=0&limit=1&order={order}"
        first = stage.get("/v1/images", query_string=query).json
        second = stage.get("/v1/images", query_string=f"{query}&after={first['next']}").json
        assert [one["image_id"] for one in first["items"] + second["items"]] == ids


def test_what_cannot_be_searched_for_is_refused_with_its_parameter(stage: Stage) -> None:
    query = "prompt=%21%21&created_after=soon&created_before=2026-01-31T12:00:00&seed=-1&order=best&width=0"
    result = stage.get("/v1/images", query_string=query)
    moment = "must be a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31, or an age such as 7d"
    assert (result.status_code, fields_of(result)) == (
        422,
        {
            "prompt": "must contain a word: a letter or a digit",
            "created_after": moment,
            "created_before": moment,
            "seed": "must be at least 0",
            "order": "must be one of newest, oldest",
            "width": "must be at least 1",
        },
    )


def test_an_image_is_deleted(stage: Stage) -> None:
    stage.bus.reactions[DeleteImage] = Done()
    assert stage.call("DELETE", "/v1/images/i1").status_code == 204


def test_what_is_said_of_an_image_goes_to_the_manager_and_is_shown(stage: Stage) -> None:
    def edit(ask: ApiAsk) -> Done:
        assert ask == EditImage(image_id=ImageId("i1"), tags=("best", "zoo"), favorite=True, note="")
        stage.database.set("image", "image_id", "i1", tags='["best","zoo"]', favorite=1)
        return Done()

    stage.bus.reactions[EditImage] = edit
    said = {"tags": ["best", "zoo"], "favorite": True, "note": ""}
    shown = stage.call("PATCH", "/v1/images/i1", said)
    assert shown.status_code == 200
    assert {name: shown.json[name] for name in ("tags", "favorite", "note")} == said | {"note": None}
    found = stage.get("/v1/images", query_string="tag=zoo&favorite=true").json["items"]
    assert [one["image_id"] for one in found] == ["i1"]


@pytest.mark.parametrize(
    ("said", "field", "problem"),
    [
        ({"tags": ["a\nb"]}, "tags", "must not contain control characters"),
        ({"tags": [" "]}, "tags", "must not be blank"),
        ({"tags": [""]}, "tags[0]", "must not be empty"),
        ({"note": "\0"}, "note", "must not contain the character NUL"),
        ({"favourite": True}, "favourite", "unknown field; did you mean favorite?"),
        ({"favorite": 1}, "favorite", "must be true or false, not a whole number"),
    ],
)
def test_what_cannot_be_said_of_an_image_is_refused(
    stage: Stage, said: dict[str, object], field: str, problem: str
) -> None:
    result = stage.call("PATCH", "/v1/images/i1", said)
    assert (result.status_code, fields_of(result)) == (422, {field: problem})
    assert stage.bus.asked == []
