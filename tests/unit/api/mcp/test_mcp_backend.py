"""Whose key a request has, and what may stand in a path."""

import pytest

pytest.importorskip("mcp")

from api.mcp.arguments import check_id, is_id
from api.mcp.backend import bearer
from kernel.protocol.errors import InvalidField, KeyMissing


def test_the_key_of_a_client_is_its_bearer_token() -> None:
    assert bearer(None) is None
    assert bearer("Bearer spoon_1_2") == bearer("bearer spoon_1_2") == "spoon_1_2"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "spoon_1_2", "Bearer a b", "Bearer ä"]
)
def test_another_header_is_refused_rather_than_taken_for_no_key(header: str) -> None:
    with pytest.raises(KeyMissing, match="Bearer KEY"):
        bearer(header)


@pytest.mark.parametrize("said", ["", "..", "a/b", "a b", "%2e", "?x", "a\n", "ä", "x" * 65])
def test_what_is_no_id_never_gets_into_a_path(said: str) -> None:
    assert not is_id(said)
    with pytest.raises(InvalidField, match="job_id: must be an id"):
        check_id("job_id", said)


def test_an_id_is_one() -> None:
    assert check_id("job_id", "0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11")
