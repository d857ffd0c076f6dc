"""Which part of a file a Range header means."""

import pytest

from api.http.contract.errors import RangeNotSatisfiable
from api.http.framework.ranges import part_of


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=90-", 90, 10),
        ("bytes=-1", 99, 1),
        ("bytes=-1000", 0, 100),
        ("bytes=99-1000", 99, 1),
        ("bytes = 5 - 6", 5, 2),
    ],
)
def test_a_range_is_a_part(header: str, start: int, length: int) -> None:
    part = part_of(header, 100)
    assert (part.start, part.length) == (start, length)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=", "bytes=-", "bytes=9-5", "items=0-9", "bytes=0-1,5-6", "bytes=a-b", "bytes=--1"],
)
def test_what_is_no_single_range_is_the_whole_file(header: str | None) -> None:
    assert part_of(header, 100).is_whole


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_had(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        part_of(header, 100)
