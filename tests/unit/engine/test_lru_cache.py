"""The LRU cache: what it keeps within its limits, and what it evicts."""

import pytest

from engine_worker.engine.runtime.lru_cache import LruCache


def fail() -> str:
    raise AssertionError("it was made again")


def test_what_was_made_once_is_not_made_again() -> None:
    cache: LruCache[str, str] = LruCache(max_bytes=10, size_bytes=len)
    assert cache.get("a", lambda: "12345") == "12345"
    assert cache.get("a", fail) == "12345"


def test_what_was_not_asked_for_the_longest_is_forgotten_first() -> None:
    cache: LruCache[str, str] = LruCache(max_bytes=10, size_bytes=len)
    cache.get("a", lambda: "12345")
    cache.get("b", lambda: "12345")
    cache.get("a", fail)
    cache.get("c", lambda: "1")
    assert cache.get("a", fail) == "12345"
    assert cache.get("b", lambda: "new") == "new"


def test_what_is_larger_than_the_whole_is_given_and_not_kept() -> None:
    cache: LruCache[str, str] = LruCache(max_bytes=3, size_bytes=len)
    assert cache.get("a", lambda: "12345") == "12345"
    assert cache.get("a", lambda: "again") == "again"


def test_an_error_is_passed_on_and_not_kept() -> None:
    cache: LruCache[str, str] = LruCache(max_bytes=10, size_bytes=len)
    with pytest.raises(AssertionError):
        cache.get("a", fail)
    assert cache.get("a", lambda: "1") == "1"


def test_space_is_made_before_the_next_value_is() -> None:
    cache: LruCache[str, str] = LruCache(max_count=2)
    cache.get("a", lambda: "1")
    cache.get("b", lambda: "2")
    found: list[tuple[bool, bool]] = []

    def make() -> str:
        found.append((cache.has("a"), cache.has("b")))
        return "3"

    assert cache.get("c", make) == "3"
    assert found == [(False, True)]


def test_asking_whether_a_value_is_cached_is_no_use_of_it() -> None:
    cache: LruCache[str, str] = LruCache(max_count=2)
    cache.keep("a", "1")
    cache.keep("b", "2")
    assert cache.has("a")
    cache.keep("c", "3")
    assert (cache.find("a"), cache.find("b"), cache.find("c")) == (None, "2", "3")
