"""Searching jobs and images: every combination of filters against the same rows looked at one by one."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.protocol.enums import JobState
from kernel.protocol.errors import InvalidField
from kernel.protocol.ids import EngineId, JobId, ModelId
from kernel.protocol.model_refs import LoraUse
from kernel.views.images import ImageFilter, list_images
from kernel.views.jobs import JobFilter, list_jobs
from kernel.views.page import Order, Page
from kernel.views.reader import Reader
from kernel.views.search import PERIOD_MS, words_of
from tests.unit.views.database import SPEC, SampleDatabase

NOW_MS: Final = 10_000
PROMPTS: Final = ("a red fox", "a red house, a grey FOX", "Füchse im Schnee", "fox red")
FOUND: Final = {"fox red": (0, 1, 3), '"red fox"': (0,), "fuchse": (2,), "fo": ()}
STATES: Final = (JobState.WAITING, JobState.PROCESSING, JobState.FINISHED, JobState.FAILED)


@pytest.fixture
def filled(database: SampleDatabase) -> SampleDatabase:
    """48 jobs of two engines, one of them deleted, each with an image; every trait in its own rhythm."""
    database.add_model("m1", name="photo")
    database.add_model("l1", name="detail", model_type="lora")
    database.add_engine("e1", "portraits")
    database.add_former_engine("e2", "former")
    with database.connection:
        for seq in range(1, 49):
            _add(database, seq)
    return database


def _add(database: SampleDatabase, seq: int) -> None:
    loras = (LoraUse(model_id=ModelId("l1")),) if seq % 5 == 0 else ()
    spec = msgspec.structs.replace(SPEC, prompt=PROMPTS[seq % 4], seed=seq % 3, loras=loras)
    traits: dict[str, Any] = {"engine_id": "e1" if seq % 7 else "e2", "created_at_ms": seq * PERIOD_MS // 5}
    traits |= {"checkpoint": "m1" if seq % 13 % 2 else "m2"}
    database.add_job(seq, spec=spec, status=STATES[seq % 11 % 4], **traits)
    gone = "deleted" if seq % 6 == 0 else None
    ends = (None, NOW_MS - 1, NOW_MS + 1)[seq % 9 % 3]
    own = {"seed": seq % 3, "width_px": (512, 640)[seq % 2], "gone_reason": gone, "expires_at_ms": ends}
    say = {"tags": '["best","zoo, \\u00e4"]' if seq % 4 == 0 else "[]", "favorite": int(seq % 8 == 0)}
    database.add_image(f"i{seq:02}", f"j{seq}", **traits, **own, **say)


def _all_pages(page_after: Callable[[str | None], Page[Any]]) -> Iterator[Any]:
    after: str | None = None
    while True:
        page = page_after(after)
        yield from page.items
        after = page.next_after
        if after is None:
            return


def _is_meant(seq: int, wanted: dict[str, Any]) -> bool:
    created_ms = seq * PERIOD_MS // 5
    names = ("e1", "portraits") if seq % 7 else ("e2", "former")
    checkpoints = ("m1", "photo") if seq % 13 % 2 else ("m2",)
    tests: dict[str, Callable[[Any], bool]] = {
        "prompt": lambda said: seq % 4 in FOUND[said],
        "engine_id": lambda said: said == names[0],
        "engine": lambda said: said in names,
        "checkpoint": lambda said: said in checkpoints,
        "lora": lambda said: said in ("l1", "detail") and seq % 5 == 0,
        "seed": lambda said: said == seq % 3,
        "width_px": lambda said: said == (512, 640)[seq % 2],
        "created_after_ms": lambda said: said <= created_ms,
        "created_before_ms": lambda said: created_ms < said,
        "tag": lambda said: said in ("best", "zoo, ä") and seq % 4 == 0,
        "favorite": lambda said: said == (seq % 8 == 0),
        "is_gone": lambda said: said == (seq % 6 == 0 or seq % 9 % 3 == 1),
        "job_id": lambda said: said == f"j{seq}",
    }  # fmt: skip
    return all(tests[name](said) for name, said in wanted.items())


SEARCHES: Final = {
    "prompt": st.sampled_from(["fox red", '"red fox"', "fuchse", "fo"]),
    "engine_id": st.sampled_from([EngineId("e1"), EngineId("e2")]),
    "engine": st.sampled_from(["e2", "former", "portraits", "none"]),
    "checkpoint": st.sampled_from(["m1", "photo", "m2", "m9"]),
    "lora": st.sampled_from(["l1", "detail", "l9"]),
    "seed": st.integers(0, 3),
    "created_after_ms": st.integers(-1, 10 * PERIOD_MS),
    "created_before_ms": st.integers(-1, 10 * PERIOD_MS),
}
OF_IMAGES: Final = {
    "width_px": st.sampled_from([512, 640, 8]),
    "tag": st.sampled_from(["best", "zoo, ä", "Best", "bes"]),
    "favorite": st.booleans(),
    "is_gone": st.booleans(),
    "job_id": st.sampled_from([JobId("j8"), JobId("j9")]),
}
AS_OFTEN = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@AS_OFTEN
@given(
    wanted=st.fixed_dictionaries({}, optional=SEARCHES | OF_IMAGES),
    order=st.sampled_from(Order),
    limit=st.integers(1, 20),
)
def test_images_are_found_by_any_combination_of_filters(
    filled: SampleDatabase, reader: Reader, wanted: dict[str, Any], order: Order, limit: int
) -> None:
    expected = [f"i{seq:02}" for seq in range(1, 49) if _is_meant(seq, wanted)]
    if not ImageFilter(**wanted).is_search:
        limit = 50  # these lists go by UUIDs, which the names of these images are not
    found = _all_pages(lambda after: list_images(reader, ImageFilter(**wanted), NOW_MS, limit, after, order))
    assert [row.image_id for row in found] == expected[:: 1 if order is Order.OLDEST else -1]


@AS_OFTEN
@given(
    wanted=st.fixed_dictionaries({}, optional=SEARCHES),
    status=st.sampled_from([None, *JobState]),
    order=st.sampled_from(Order),
    limit=st.integers(1, 20),
)
def test_jobs_are_found_by_any_combination_of_filters(
    filled: SampleDatabase, reader: Reader, wanted: dict[str, Any], status: JobState, order: Order, limit: int
) -> None:
    expected = [
        f"j{seq}" for seq in range(1, 49) if _is_meant(seq, wanted) and status in (None, STATES[seq % 11 % 4])
    ]
    sought = JobFilter(status=status, **wanted)
    found = _all_pages(lambda after: list_jobs(reader, sought, limit, after, order))
    assert [row.job_id for row in found] == expected[:: 1 if order is Order.OLDEST else -1]


def test_the_index_follows_every_change(filled: SampleDatabase, reader: Reader) -> None:
    def tagged(tag: str, is_gone: bool) -> list[str]:
        page = list_images(reader, ImageFilter(tag=tag, is_gone=is_gone), 0, 50)
        return [row.image_id for row in page.items]

    assert tagged("new", is_gone=False) == []
    filled.set("image", "image_id", "i05", tags='["new"]')
    assert tagged("new", is_gone=False) == ["i05"]
    filled.set("image", "image_id", "i05", gone_reason="deleted")
    assert (tagged("new", is_gone=False), tagged("new", is_gone=True)) == ([], ["i05"])
    filled.connection.execute("DELETE FROM image WHERE image_id = 'i05'")
    assert tagged("new", is_gone=True) == []

    def found(status: JobState) -> list[str]:
        page = list_jobs(reader, JobFilter(seed=2, status=status, prompt="füchse"), 50)
        return [row.job_id for row in page.items]

    assert "j2" not in found(JobState.CANCELLED)
    filled.set("job", "job_id", "j2", status="cancelled")
    assert found(JobState.CANCELLED) == ["j2"]
    filled.connection.execute("DELETE FROM image WHERE job_id = 'j2'; DELETE FROM job WHERE job_id = 'j2'")
    assert found(JobState.CANCELLED) == []


def test_a_clock_that_was_set_back_hides_nothing(database: SampleDatabase, reader: Reader) -> None:
    times_ms = [5 * PERIOD_MS, 9 * PERIOD_MS, 2 * PERIOD_MS, 3 * PERIOD_MS]
    for seq, created_at_ms in enumerate(times_ms):
        database.add_job(seq, created_at_ms=created_at_ms)
    for after_ms, before_ms in product([0, *times_ms], [*times_ms, 10 * PERIOD_MS]):
        wanted = JobFilter(created_after_ms=after_ms, created_before_ms=before_ms)
        found = {row.created_at_ms for row in list_jobs(reader, wanted, 50).items}
        assert found == {at_ms for at_ms in times_ms if after_ms <= at_ms < before_ms}


@pytest.mark.parametrize("cursor", ["", "x", "-1", "0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11"])
def test_what_is_no_cursor_of_a_search_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(InvalidField) as refused:
        list_images(reader, ImageFilter(seed=1), NOW_MS, 2, cursor)
    assert refused.value.fields[0].field == "after"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ('red "blue fox" x', ["red", "x", "blue fox"]),
        ("NOT a* OR -b (c)", ["NOT", "a*", "OR", "-b", "(c)"]),
        ('"', []),
        ("!!! ... 🦊", []),
        ("狐 42", ["狐", "42"]),
    ],
)
def test_a_prompt_is_words_and_phrases(prompt: str, words: list[str]) -> None:
    assert words_of(prompt) == words


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=50))
def test_no_text_is_a_wrong_expression(reader: Reader, prompt: str) -> None:
    assert list_jobs(reader, JobFilter(prompt=prompt), 5).items == ()
