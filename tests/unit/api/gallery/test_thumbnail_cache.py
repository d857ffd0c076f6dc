"""The cache of thumbnails: bounded, and as good after a restart as before."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.http.gallery.thumbnail_cache import FRESH, ThumbnailCache

CONTENT = b"c" * 68
EACH = 100
"""With its digest."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "thumbnails"


def cache_of(folder: Path, files: int = 3) -> ThumbnailCache:
    return ThumbnailCache(folder, files * EACH)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_what_was_put_is_got_by_its_name_and_key(folder: Path) -> None:
    cache = cache_of(folder)
    assert cache.get("a", "k") is None
    cache.put("a", "k", CONTENT)
    assert cache.get("a", "k") == CONTENT
    assert cache.get("a", "other") is None
    assert (folder.stat().st_mode & 0o777, names(folder)) == (0o700, {"a"})


def test_the_least_recently_used_goes_first(folder: Path) -> None:
    cache = cache_of(folder)
    for name in "abc":
        cache.put(name, "k", CONTENT)
    cache.get("a", "k")
    cache.put("d", "k", CONTENT)
    assert names(folder) == {"a", "c", "d"}
    cache.put("c", "k", CONTENT)
    cache.put("e", "k", CONTENT)
    assert names(folder) == {"c", "d", "e"}


def test_a_restart_knows_what_there_is_and_in_which_order(folder: Path) -> None:
    cache = cache_of(folder)
    for number, name in enumerate("abc"):
        cache.put(name, "k", CONTENT)
        os.utime(folder / name, ns=(number, number))
    cache.get("a", "k")
    again = cache_of(folder)
    again.put("d", "k", CONTENT)
    assert names(folder) == {"a", "c", "d"}
    smaller = cache_of(folder, files=1)
    smaller.put("e", "k", CONTENT)
    assert names(folder) == {"e"}


def test_unfinished_files_are_removed_by_the_next_start(folder: Path) -> None:
    folder.mkdir()
    (folder / f"{FRESH}x").write_bytes(b"half")
    cache_of(folder).put("a", "k", CONTENT)
    assert names(folder) == {"a"}


def test_what_is_removed_counts_no_more(folder: Path) -> None:
    cache = cache_of(folder)
    for name in "abc":
        cache.put(name, "k", CONTENT)
    cache.remove(["b", "none"])
    cache.put("d", "k", CONTENT)
    assert names(folder) == {"a", "c", "d"}


def test_content_that_is_larger_than_the_cache_is_not_kept(folder: Path) -> None:
    cache = cache_of(folder, files=1)
    cache.put("a", "k", CONTENT * 2)
    assert names(folder) == set()


def test_many_threads_leave_whole_files_and_keep_to_the_bound(folder: Path) -> None:
    cache = cache_of(folder, files=5)

    def work(number: int) -> bool:
        name = f"{number % 9}"
        cache.put(name, "k", CONTENT)
        return cache.get(name, "k") in (CONTENT, None)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))
    assert len(names(folder)) <= 5
    assert all((folder / name).stat().st_size == EACH for name in names(folder))
