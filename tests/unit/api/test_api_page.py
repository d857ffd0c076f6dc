"""docs/api.md, and docs/a1111.md for the routes of A1111's clients, name every route, field and code."""

import re
from pathlib import Path
from typing import Any

import pytest

import api.http.contract.errors  # noqa: F401  (its errors are part of the tree)
from api.http.contract import errors as http_errors
from api.http.contract.job_input import LATER_FIELDS
from api.http.contract.problems import status_of
from kernel.protocol.refusals import all_errors
from tests.unit.api.stage import Stage

DOCS = Path(__file__).parents[3] / "docs"
PAGE = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "a1111.md"))
CODE = set(re.findall(r"`([^`\n]+)`", PAGE))
UNSEEN = {"already_running", "bad_configuration"}


def error_rows() -> list[list[str]]:
    """The cells of the table of errors."""
    table = PAGE.partition("| status | code |")[2].partition("\n\n")[0]
    return [line.split("|") for line in table.splitlines()[2:]]


@pytest.fixture
def document(stage: Stage) -> Any:
    return stage.get("/openapi.json").json


def test_every_route_is_on_the_page(document: Any) -> None:
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in CODE


def test_every_field_is_on_the_page(document: Any) -> None:
    fields = {
        name for schema in document["components"]["schemas"].values() for name in schema.get("properties", {})
    }
    assert (fields | LATER_FIELDS) - {"items", "next"} <= CODE


def test_every_query_parameter_is_on_the_page(document: Any) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                assert re.search(rf"`\??{parameter['name']}(=|`)|{{{parameter['name']}}}", PAGE), parameter


def test_every_word_of_a_closed_set_is_on_the_page(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        assert set(map(str, schema.get("enum", ()))) <= CODE


@pytest.mark.parametrize("code", sorted(set(all_errors(http_errors.__name__)) - UNSEEN))
def test_every_code_is_on_the_page_with_its_status(code: str) -> None:
    statuses = [int(row[1]) for row in error_rows() if f"`{code}`" in row[2]]
    assert statuses == [status_of(all_errors(http_errors.__name__)[code])]


def test_the_page_names_no_code_that_there_is_not() -> None:
    assert {code for row in error_rows() for code in re.findall(r"`(\w+)`", row[2])} <= set(
        all_errors(http_errors.__name__)
    )
