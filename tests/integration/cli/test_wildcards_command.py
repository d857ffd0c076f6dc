"""`spoon wildcards`, against a server."""

import json

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi

CATS = {"name": "animals/cats", "lines": 2}
LINES = [{"text": "a red cat", "weight": 1.0}, {"text": "a tiger", "weight": 2.5}]


def test_lists_are_searched_and_listed(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/wildcards", Answer(body={"items": [CATS], "next": None}))
    assert spoon("wildcards", "list", "--search", "cat").out.splitlines()[1].split() == ["animals/cats", "2"]
    assert api.asked[-1].query["search"] == "cat"
    assert json.loads(spoon("wildcards", "list", "--json").out) == [CATS]


def test_lines_are_shown_as_they_stand_in_the_file(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/wildcards/animals%2Fcats", Answer(body={**CATS, "items": LINES, "next": None}))
    assert spoon("wildcards", "show", "animals/cats").out == "a red cat\n2.5::a tiger\n"
    assert json.loads(spoon("wildcards", "show", "animals/cats", "--json").out) == LINES
