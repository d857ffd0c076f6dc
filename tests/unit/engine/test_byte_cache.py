"""The memory that is bounded by bytes."""

import pytest

from engine_worker.engine.runtime.byte_cache import ByteCache


def fail() -> str:
    raise AssertionError("it was made again")


def test_what_was_made_once_is_not_made_again() -> None:
    cache: ByteCache[str, str] = ByteCache(10, len)
    assert cache.get("a", lambda: "12345") == "12345"
    assert cache.get("a", fail) == "12345"


def test_what_was_not_asked_for_the_longest_is_forgotten_first() -> None:
    cache: ByteCache[str, str] = ByteCache(10, len)
    cache.get("a", lambda: "12345")
    cache.get("b", lambda: "12345")
    cache.get("a", fail)
    cache.get("c", lambda: "1")
    assert cache.get("a", fail) == "12345"
    assert cache.get("b", lambda: "new") == "new"


def test_what_is_larger_than_the_whole_is_given_and_not_kept() -> None:
    cache: ByteCache[str, str] = ByteCache(3, len)
    assert cache.get("a", lambda: "12345") == "12345"
    assert cache.get("a", lambda: "again") == "again"


def test_an_error_is_passed_on_and_not_kept() -> None:
    cache: ByteCache[str, str] = ByteCache(10, len)
    with pytest.raises(AssertionError):
        cache.get("a", fail)
    assert cache.get("a", lambda: "1") == "1"
