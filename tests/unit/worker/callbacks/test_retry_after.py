"""How long a receiver asks to be left alone."""

import pytest

from engine_worker.fetch.callbacks.retry_after import retry_after_s

NOW_S = 1_800_000_000.0
"""Fri, 15 Jan 2027 08:00:00 GMT"""


def seconds(text: str, date: str | None = None) -> int | None:
    headers = [(b"Content-Length", b"0"), (b"retry-AFTER", text.encode("latin-1"))]
    if date is not None:
        headers.insert(0, (b"Date", date.encode()))
    return retry_after_s(headers, NOW_S)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("9" * 11, 99_999_999_999),
        ("9" * 12, None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("²", None),
        # The three forms of a date, of which the last says no zone.
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60),
        ("Friday, 15-Jan-27 08:01:00 GMT", 60),
        ("Fri Jan 15 08:01:00 2027", 60),
        ("Fri, 15 Jan 2027 09:01:00 +0100", 60),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_602_300_799),
        ("Fri, 32 Jan 2027 08:01:00 GMT", None),
        ("Fri, 15 Jan 99999 08:01:00 GMT", None),
        ("Fri, 15 Jan 2027 08:01:00 GMT" + " " * 3 + "x" * 100, None),
        ("Fri, 15 Jan 2027 08:01:00 +9999999999", None),
    ],
)
def test_seconds_and_dates_are_read(text: str, expected: int | None) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Mon, 04 Jan 2027 08:00:30 GMT", 30),
        ("Mon, 04 Jan 2027 09:00:00 GMT", 0),
        ("yesterday", 0),
    ],
)
def test_a_date_counts_from_the_receivers_own_clock_if_it_says_the_time(date: str, expected: int) -> None:
    assert seconds("Mon, 04 Jan 2027 08:01:00 GMT", date) == expected


def test_without_the_header_nothing_is_asked() -> None:
    assert retry_after_s([(b"Date", b"Mon, 04 Jan 2027 08:00:30 GMT")], NOW_S) is None
