"""The cache of loaded models: what it keeps, and what it evicts."""

from threading import Event, Thread

import pytest

from engine_worker.engine.runtime.lru_cache import ModelCache
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource


def source(name: str, sha256: str | None = None) -> ModelSource:
    return ModelSource(
        model_id=ModelId(name), name=name, uri="file:///x", model_type=ModelType.VAE, sha256=sha256
    )


class Library:
    """Loads models whose names are as long as they are large, and writes down which."""

    def __init__(self, *, max_count: int = 10, max_bytes: int = 100) -> None:
        self.loaded: list[str] = []
        self.slow: tuple[Event, Event] | None = None
        """Set when loading begins; waited for before it ends."""
        self.cache: ModelCache[str] = ModelCache(self.load, len, max_count=max_count, max_bytes=max_bytes)

    def load(self, source: ModelSource) -> str:
        if source.name == "bad":
            raise ModelUnreadable("bad")
        if self.slow is not None:
            begun, door = self.slow
            begun.set()
            assert door.wait(30)
        self.loaded.append(source.name)
        return source.name

    def take(self, *names: str) -> None:
        for name in names:
            self.cache.take(source(name))


def test_a_cached_model_is_not_loaded_again() -> None:
    library = Library()
    library.take("a", "a", "b", "a")
    assert library.loaded == ["a", "b"]
    assert library.cache.size_bytes == 2


def test_the_one_that_was_wanted_least_lately_goes_first() -> None:
    library = Library(max_count=2)
    library.take("a", "b", "a", "c", "a", "b")
    assert library.loaded == ["a", "b", "c", "b"]


def test_bytes_are_bounded_and_the_latest_stays_even_if_it_is_too_large() -> None:
    library = Library(max_bytes=3)
    library.take("aa", "b", "cc")
    assert library.cache.size_bytes == 3
    library.take("large")
    assert library.cache.size_bytes == 5
    library.take("large", "b")
    assert library.loaded == ["aa", "b", "cc", "large", "b"]


def test_other_files_under_the_same_id_are_another_model() -> None:
    library = Library()
    for sha256 in ("0", "1", "0"):
        library.cache.take(source("a", sha256))
    assert library.loaded == ["a", "a"]


def test_what_cannot_be_loaded_changes_nothing() -> None:
    library = Library(max_count=1)
    library.take("a")
    with pytest.raises(ModelUnreadable):
        library.take("bad")
    library.take("a")
    assert library.loaded == ["a"]


def test_a_cleared_cache_is_empty() -> None:
    library = Library()
    library.take("a")
    library.cache.clear()
    assert library.cache.size_bytes == 0


def test_what_is_here_is_had_while_another_model_loads() -> None:
    library, begun, door = Library(), Event(), Event()
    library.take("a")
    library.slow = (begun, door)
    thread = Thread(target=library.take, args=("slow",))
    thread.start()
    assert begun.wait(30)
    library.take("a")
    assert (library.cache.has(source("a")), library.cache.has(source("slow"))) == (True, False)
    door.set()
    thread.join()
    assert library.cache.has(source("slow"))
