"""`spoon images prune` against a server."""

import json

import pytest

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, Asked, FakeApi


@pytest.fixture
def full(api: FakeApi) -> FakeApi:
    """A server with three pictures to delete."""

    def prune(asked: Asked) -> Answer:
        is_dry = isinstance(asked.body, dict) and asked.body.get("dry_run", False)
        is_missing = isinstance(asked.body, dict) and asked.body.get("missing", False)
        files = ["a.png", "b.png"] if is_missing else []
        missing = {"missing": 3 if is_missing else 0, "missing_files": files}
        return Answer(body={"images": 3, "size_bytes": 1_500_000, "dry_run": is_dry} | missing)

    api.on("POST", "/v1/images/prune", prune)
    return api


def test_a_dry_run_says_what_would_go_and_deletes_nothing(spoon: Spoon, full: FakeApi) -> None:
    ended = spoon("images", "prune", "--dry-run", "--older-than", "7d")
    assert (ended.code, ended.out.startswith("would delete 3 images (1.5")) == (0, True)
    assert [asked.body for asked in full.asked] == [{"older_than_s": 604_800.0, "dry_run": True}]


def test_pictures_are_deleted_by_the_same_wish_that_was_counted(spoon: Spoon, full: FakeApi) -> None:
    ended = spoon("images", "prune", "--keep", "5GB", "--yes", "--json")
    assert json.loads(ended.out) == {
        "images": 3,
        "size_bytes": 1_500_000,
        "missing": 0,
        "missing_files": [],
        "dry_run": False,
        "has_more": False,
    }
    wish = {"keep_bytes": 5_000_000_000}
    assert [asked.body for asked in full.asked] == [wish | {"dry_run": True}, wish]


def test_pictures_without_a_file_are_named(spoon: Spoon, full: FakeApi) -> None:
    ended = spoon("images", "prune", "--missing", "--dry-run")
    first, *lines = ended.out.splitlines()
    assert first == "would delete 3 images (1.5 MB, 3 of them without a file)"
    assert lines == ["  a.png is missing", "  b.png is missing", "  and 1 more are missing"]
    assert [asked.body for asked in full.asked] == [{"missing": True, "dry_run": True}]


@pytest.mark.parametrize("words", [("--keep", "much"), ("--older-than", "long")])
def test_what_is_no_size_and_no_duration_is_refused_before_anything_is_asked(
    spoon: Spoon, full: FakeApi, words: tuple[str, str]
) -> None:
    assert spoon("images", "prune", *words).code == 2
    assert full.asked == []


def test_what_a_search_finds_is_deleted_by_the_same_filters(spoon: Spoon, full: FakeApi) -> None:
    spoon("images", "prune", "--prompt", "a fox", "--until", "30d", "--no-favorite", "--seed", "0", "--yes")
    wish = {"prompt": "a fox", "created_before": "30d", "favorite": False, "seed": 0}
    assert [asked.body for asked in full.asked] == [wish | {"dry_run": True}, wish]


def test_a_request_that_ended_early_is_sent_again_until_all_are_gone(spoon: Spoon, api: FakeApi) -> None:
    part = {"images": 2, "size_bytes": 9, "missing": 0, "missing_files": [], "dry_run": False}
    answers = [
        part | {"dry_run": True, "images": 5},
        part | {"has_more": True},
        part | {"has_more": True},
        part,
    ]
    api.on("POST", "/v1/images/prune", *(Answer(body=body) for body in answers))
    assert spoon("images", "prune", "--older-than", "1s", "--yes").out == "deleted 6 images (27 B)\n"
    assert len(api.asked) == 4
