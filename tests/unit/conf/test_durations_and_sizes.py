"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.units import parse_duration_s, parse_size_bytes, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("7d", 604_800), ("45", 45), ("1h 30m", 5_400), ("1.5h", 5_400),
     ("250ms", 0.25), ("2w", 1_209_600), (" 10 min ", 600), ("0s", 0)],
)  # fmt: skip
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "d", "7 days", "-3s", "1e3", "1,5h", "7d!", "٣s", "nan", "inf", "1h30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("50GB", 50_000_000_000),
        ("1GiB", 1 << 30),
        ("512", 512),
        ("1.5kB", 1_500),
        ("3 tib", 3 << 40),
        ("0B", 0),
    ],
)
def test_a_size_is_read_in_bytes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "50G", "1GB 2MB", "-1B", "0.5B", "1.5", "50 gigabytes"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_size_bytes(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_shown_size_is_read_back_exactly(size_bytes: int) -> None:
    assert parse_size_bytes(show_size(size_bytes)) == size_bytes


@given(st.integers(min_value=0, max_value=10**9))
def test_a_shown_duration_is_read_back_exactly(seconds: int) -> None:
    assert parse_duration_s(show_duration(float(seconds))) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(604_800.0, "7d"), (5_400.0, "90m"), (0.25, "0.25s"), (0.0, "0s")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text
