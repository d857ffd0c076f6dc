"""/v1/images/delete and /v1/images/pages"""

import pytest

from kernel.protocol.client import DeleteImages, ImagesPruned
from kernel.protocol.enums import Role
from kernel.protocol.ids import ImageId
from tests.unit.api.stage import NOW_MS, Stage, fields_of
from tests.unit.api.test_access import bearer


@pytest.fixture(autouse=True)
def images(stage: Stage) -> None:
    """Of two jobs, each with some images; one is gone, one lost, one has expired."""
    stage.database.add_engine("e1")
    for number in (1, 2):
        stage.database.add_job(number, f"j{number}")
    for number in range(6):
        stage.database.add_image(f"i{number}", f"j{1 + number % 2}", size_bytes=10)
    stage.database.set("image", "image_id", "i1", gone_reason="used_up", gone_at_ms=1)
    stage.database.set("image", "image_id", "i2", gone_reason="lost", gone_at_ms=1)
    stage.database.set("image", "image_id", "i3", expires_at_ms=NOW_MS)
    stage.bus.reactions[DeleteImages] = ImagesPruned(images=3, size_bytes=20)


def test_named_images_are_deleted_with_one_command(stage: Stage) -> None:
    named = ["i0", "i1", "i2", "i3", "i9", "i0"]
    result = stage.post("/v1/images/delete", {"image_ids": named})
    assert result.status_code == 200
    assert result.json == {
        "deleted": ["i0", "i2", "i3"],
        "already_gone": ["i1"],
        "not_found": ["i9"],
        "size_bytes": 20,
    }
    assert stage.bus.asked == [DeleteImages(image_ids=(ImageId("i0"), ImageId("i2"), ImageId("i3")))]


def test_the_manager_is_not_asked_to_delete_nothing(stage: Stage) -> None:
    result = stage.post("/v1/images/delete", {"image_ids": ["i1", "i9"]})
    assert (result.json["deleted"], result.json["size_bytes"], stage.bus.asked) == ([], 0, [])


def test_a_user_deletes_its_own_and_finds_no_others(stage: Stage) -> None:
    headers = bearer(stage.add_key("alice", Role.USER))
    stage.database.set("job", "job_id", "j1", key_id=stage.keys["alice"])
    result = stage.post("/v1/images/delete", {"image_ids": ["i4", "i5", "i9"]}, headers=headers)
    assert (result.json["deleted"], result.json["not_found"]) == (["i4"], ["i5", "i9"])
    assert stage.bus.asked == [DeleteImages(image_ids=(ImageId("i4"),))]
    viewer = bearer(stage.add_key("eve", Role.VIEWER))
    assert stage.post("/v1/images/delete", {"image_ids": ["i4"]}, headers=viewer).status_code == 403


@pytest.mark.parametrize(
    "body", [{"image_ids": []}, {"image_ids": [""]}, {"image_ids": ["i0"] * 201}, {"image_ids": "i0"}]
)
def test_ids_are_a_list_within_bounds(stage: Stage, body: dict[str, object]) -> None:
    result = stage.post("/v1/images/delete", body)
    assert result.status_code == 422
    assert next(iter(fields_of(result))).startswith("image_ids")


def test_the_pages_of_a_list_are_counted_by_its_filters(stage: Stage) -> None:
    with stage.database.connection:
        for number in range(50):
            image_id = f"00000000-0000-7000-8000-{number:012}"
            stage.database.add_image(image_id, "j1", tags='["best"]' if number % 2 else "[]")
    whole = stage.get("/v1/images/pages", query_string="gone=false&limit=20").json
    assert (whole["total"], whole["limit"], len(whole["after"])) == (53, 20, 2)
    second = stage.get("/v1/images", query_string=f"gone=false&limit=20&after={whole['after'][0]}").json
    assert second["items"][0]["image_id"] == "00000000-0000-7000-8000-000000000032"
    assert second["next"] == whole["after"][1]
    tagged = stage.get("/v1/images/pages", query_string="tag=best&limit=20&order=oldest").json
    assert (tagged["total"], len(tagged["after"])) == (25, 1)
    empty = {"total": 0, "limit": 50, "after": []}
    assert stage.get("/v1/images/pages", query_string="key=nobody").json == empty


@pytest.mark.parametrize("query", ["limit=19", "limit=201", "after=x", "prompt=..."])
def test_what_is_asked_of_the_pages_has_bounds(stage: Stage, query: str) -> None:
    result = stage.get("/v1/images/pages", query_string=query)
    assert (result.status_code, list(fields_of(result))) == (422, [query.partition("=")[0]])
