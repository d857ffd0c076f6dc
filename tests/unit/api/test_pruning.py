"""POST /v1/images/prune"""

import msgspec
import pytest

from api.http.resources.pruning import AT_ONCE
from kernel.protocol.client import ApiAsk, DeleteImages, ImagesPruned, PruneImages
from kernel.protocol.ids import ImageId
from tests.unit.api.stage import Stage, fields_of
from tests.unit.views.database import SPEC


def test_the_manager_is_asked_until_nothing_is_left(stage: Stage) -> None:
    answers = [
        ImagesPruned(images=200, size_bytes=1_000, has_more=True, missing=1, missing_files=("a.png",)),
        ImagesPruned(images=3, size_bytes=15, missing=1, missing_files=("b.png",)),
    ]

    def answer(ask: ApiAsk) -> ImagesPruned:
        return answers.pop(0)

    stage.bus.reactions[PruneImages] = answer
    wish = {"older_than_s": 3600, "keep_bytes": 5, "missing": True}
    result = stage.call("POST", "/v1/images/prune", wish)
    missing = {"missing": 2, "missing_files": ["a.png", "b.png"]}
    assert result.status_code == 200
    rest = {"dry_run": False, "has_more": False}
    assert result.json == {"images": 203, "size_bytes": 1_015} | rest | missing
    assert stage.bus.asked == [PruneImages(older_than_s=3600.0, keep_bytes=5, missing=True)] * 2


def test_a_dry_run_is_asked_for_once(stage: Stage) -> None:
    stage.bus.reactions[PruneImages] = ImagesPruned(images=9, size_bytes=90)
    result = stage.call("POST", "/v1/images/prune", {"dry_run": True})
    assert (result.json["images"], result.json["size_bytes"], result.json["dry_run"]) == (9, 90, True)
    assert stage.bus.asked == [PruneImages(dry_run=True)]


@pytest.mark.parametrize("body", [{"older_than_s": -1}, {"keep_bytes": -1}, {"older": "7d"}])
def test_a_wish_that_cannot_be_meant_is_refused_by_its_field(stage: Stage, body: dict[str, object]) -> None:
    result = stage.call("POST", "/v1/images/prune", body)
    assert result.status_code == 422
    assert result.json["fields"][0]["field"] == next(iter(body))


def test_a_request_that_ends_early_says_so(stage: Stage) -> None:
    stage.bus.reactions[PruneImages] = ImagesPruned(images=200, size_bytes=1, has_more=True)
    result = stage.call("POST", "/v1/images/prune", {"older_than_s": 1})
    assert (result.json["images"], result.json["has_more"]) == (200 * AT_ONCE, True)
    assert len(stage.bus.asked) == AT_ONCE


@pytest.fixture
def foxes(stage: Stage) -> Stage:
    """Three images, one of them gone; 450 more of another job."""
    stage.database.add_job(1, "j1")
    stage.database.add_job(2, "j2", spec=msgspec.structs.replace(SPEC, prompt="a fox"))
    stage.database.add_image("i1", "j1", seed=7)
    stage.database.add_image("i2", "j1", seed=7, gone_reason="deleted", gone_at_ms=1)
    stage.database.add_image("i3", "j1")
    with stage.database.connection:
        for number in range(450):
            stage.database.add_image(f"f{number:03}", "j2", size_bytes=2)

    def delete(ask: ApiAsk) -> ImagesPruned:
        assert isinstance(ask, DeleteImages)
        for image_id in ask.image_ids:
            stage.database.set("image", "image_id", image_id, gone_reason="deleted", gone_at_ms=1)
        return ImagesPruned(images=len(ask.image_ids), size_bytes=2 * len(ask.image_ids))

    stage.bus.reactions[DeleteImages] = delete
    return stage


def test_exactly_what_a_search_finds_is_deleted_a_page_at_a_time(foxes: Stage) -> None:
    counted = foxes.post("/v1/images/prune", {"prompt": "fox", "created_before": "1s", "dry_run": True})
    assert (counted.json["images"], counted.json["size_bytes"], foxes.bus.asked) == (450, 900, [])
    result = foxes.post("/v1/images/prune", {"prompt": "fox", "created_before": "1s"})
    assert result.json == counted.json | {"dry_run": False}
    deleted = [len(ask.image_ids) for ask in foxes.bus.asked if isinstance(ask, DeleteImages)]
    assert deleted == [200, 200, 50]
    assert foxes.post("/v1/images/prune", {"seed": 7}).json["images"] == 1
    assert foxes.last_ask == DeleteImages(image_ids=(ImageId("i1"),))
    assert foxes.post("/v1/images/prune", {"tag": "best"}).json["images"] == 0


def test_a_search_is_not_combined_with_the_other_wishes(foxes: Stage) -> None:
    wish = {"favorite": False, "prompt": "!", "keep_bytes": 1, "older_than_s": 1, "missing": True}
    found = fields_of(foxes.post("/v1/images/prune", wish))
    assert found.pop("prompt") == "must contain a word: a letter or a digit"
    problem = "cannot be combined with a filter; `created_before` takes an age"
    assert found == dict.fromkeys(("keep_bytes", "older_than_s", "missing"), problem)
    assert foxes.bus.asked == []
