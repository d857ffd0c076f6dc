"""/v1/models/scan and the images beside models."""

from pathlib import Path
from typing import Any

import pytest

from kernel.protocol.client import Done, ScanModels
from kernel.protocol.errors import NoModelFolders
from tests.unit.api.stage import Stage

PNG = b"\x89PNG\r\n\x1a\n and so on"


def test_a_scan_is_ordered_and_shown(stage: Stage) -> None:
    stage.bus.reactions[ScanModels] = Done()
    stage.database.add_scan(files=7, to_read=3, read=1, absent='["/gone"]')
    stage.database.add_scanned_file("/own/bad.safetensors", "model_unreadable", "it is truncated")
    result = stage.post("/v1/models/scan")
    assert stage.last_ask == ScanModels()
    assert result.status_code == 202
    assert (result.json["running"], result.json["ended_at"]) == (True, None)
    counts = {name: result.json[name] for name in ("files", "to_read", "read", "unusable")}
    assert counts == {"files": 7, "to_read": 3, "read": 1, "unusable": 1}
    assert result.json["absent"] == ["/gone"]
    assert [Path(folder).name for folder in result.json["folders"]] == ["own"]


def test_an_ended_scan_is_an_answer_at_once(stage: Stage) -> None:
    stage.bus.reactions[ScanModels] = Done()
    stage.database.add_scan(ended_at_ms=2_000, added=2)
    result = stage.post("/v1/models/scan?wait=5")
    assert (result.status_code, result.json["running"], result.json["added"]) == (200, False, 2)


def test_before_the_first_scan_there_is_nothing(stage: Stage) -> None:
    result = stage.get("/v1/models/scan")
    assert (result.status_code, result.json["running"], result.json["began_at"]) == (200, False, None)


def test_without_folders_it_is_refused(stage: Stage) -> None:
    stage.bus.reactions[ScanModels] = NoModelFolders()
    refused = stage.post("/v1/models/scan")
    assert (refused.status_code, refused.json["code"]) == (409, "no_model_folders")
    assert "models.folders" in refused.json["detail"]


def test_unusable_files_are_listed_by_path_page_by_page(stage: Stage) -> None:
    stage.database.add_scanned_file("/own/good.safetensors")
    for name in "cab":
        stage.database.add_scanned_file(f"/own/{name}", "model_unreadable", f"{name} is damaged")
    first = stage.get("/v1/models/scan/unusable?limit=2").json
    assert [(one["path"], one["code"], one["reason"]) for one in first["items"]] == [
        ("/own/a", "model_unreadable", "a is damaged"),
        ("/own/b", "model_unreadable", "b is damaged"),
    ]
    second = stage.get(f"/v1/models/scan/unusable?limit=2&after={first['next']}").json
    assert ([one["path"] for one in second["items"]], second["next"]) == (["/own/c"], None)


def thumbnail_of(stage: Stage, path: Path, **more: Any) -> Any:
    stage.database.add_model("m1", thumbnail=str(path))
    return stage.get("/v1/models/m1/thumbnail", **more)


def test_the_image_beside_a_model_is_sent(stage: Stage, tmp_path: Path) -> None:
    image = tmp_path / "own" / "fox.preview.png"
    image.parent.mkdir()
    image.write_bytes(PNG)
    result = thumbnail_of(stage, image)
    assert (result.status_code, result.content) == (200, PNG)
    assert result.headers["content-type"] == "image/png"
    assert stage.get("/v1/models/m1").json["thumbnail"] == "/v1/models/m1/thumbnail"


@pytest.mark.parametrize("kind", ["absent", "outside", "a link out", "a folder", "no image", "too large"])
def test_nothing_else_is_sent_for_it(stage: Stage, tmp_path: Path, kind: str) -> None:
    own, secret = tmp_path / "own", tmp_path / "secret.png"
    own.mkdir()
    secret.write_bytes(PNG)
    path = secret if kind == "outside" else own / "fox.png"
    match kind:
        case "a link out":
            path.symlink_to(secret)
        case "a folder":
            path.mkdir()
        case "no image":
            path.write_bytes(b"<html>")
        case "too large":
            with path.open("wb") as file:
                file.write(PNG)
                file.truncate((16 << 20) + 1)
    refused = thumbnail_of(stage, path)
    assert (refused.status_code, refused.json["code"]) == (404, "no_thumbnail")


def test_a_model_without_one_has_none(stage: Stage) -> None:
    stage.database.add_model("m1")
    assert stage.get("/v1/models/m1").json["thumbnail"] is None
    assert stage.get("/v1/models/m1/thumbnail").json["code"] == "no_thumbnail"
