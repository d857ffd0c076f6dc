"""POST /v1/images/prune"""

import pytest

from kernel.protocol.client import ApiAsk, ImagesPruned, PruneImages
from tests.unit.api.stage import Stage


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
    assert result.json == {"images": 203, "size_bytes": 1_015, "dry_run": False} | missing
    assert stage.bus.asked == [PruneImages(older_than_s=3600.0, keep_bytes=5, missing=True)] * 2


def test_a_dry_run_is_asked_for_once(stage: Stage) -> None:
    stage.bus.reactions[PruneImages] = ImagesPruned(images=9, size_bytes=90)
    result = stage.call("POST", "/v1/images/prune", {"dry_run": True})
    assert result.json == {"images": 9, "size_bytes": 90, "missing": 0, "missing_files": [], "dry_run": True}
    assert stage.bus.asked == [PruneImages(dry_run=True)]


@pytest.mark.parametrize("body", [{"older_than_s": -1}, {"keep_bytes": -1}, {"older": "7d"}])
def test_a_wish_that_cannot_be_meant_is_refused_by_its_field(stage: Stage, body: dict[str, object]) -> None:
    result = stage.call("POST", "/v1/images/prune", body)
    assert result.status_code == 422
    assert result.json["fields"][0]["field"] == next(iter(body))
