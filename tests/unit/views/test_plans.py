"""No query reads more than it shows: each goes along an index that has its order, whatever is asked for."""

from itertools import product
from typing import Final

import pytest

from kernel.core.state.queue import JobQueue
from kernel.protocol.enums import JobState
from kernel.protocol.ids import EngineId, ImageId, JobId, KeyId
from kernel.views.counts import count_all
from kernel.views.images import ImageFilter, list_images
from kernel.views.jobs import JobFilter, find_job, jobs_ahead, list_jobs
from kernel.views.named_sql import load_list_queries, load_queries
from kernel.views.reader import FILES, Reader
from tests.unit.views.database import SampleDatabase

QUERIES: Final = {
    name: sql for file in FILES for name, sql in load_list_queries("kernel.views", file).items()
}
PRUNING: Final = (
    "expired_images", "images_before", "images_before_of_engine", "kept_days", "kept_days_of_engine",
    "expired_days", "kept_between", "kept_between_of_engine", "oldest_images", "oldest_images_of_engine",
    "expired_blobs", "forget_replies", "drop_images_of_engine", "drop_gone_images_of_engine",
    "trash_images_of_engine", "trash_blobs_of_engine", "drop_blobs_of_engine", "drop_jobs_of_engine",
)  # fmt: skip
STORE: Final = {name: load_queries("kernel.shell", "store.sql")[name] for name in PRUNING}
FEW: Final = (
    "api_key",
    "duration_bound",
    "tally",
    "delivery_tally",
    "webhook",
    "preset",
    "CONSTANT ROW",
    "wanted VIRTUAL TABLE",
    "tag VIRTUAL TABLE",
    "pragma_user_version",
    "engine",
    "model",
    "scan",
    "scanned_file",
    "job_count",
    "image_count",
    "found VIRTUAL TABLE INDEX",
    "lora VIRTUAL TABLE",
    "last",
    "alone",
    "mark",
    "own",
    "other",
    "(subquery",
)
"""What may be read whole: there are few rows, however many jobs and images there are."""
_EVERY_IMAGE: Final = "the beginnings of all pages cannot be known without a look at every image"
WALKED: Final = {
    "oldest_images": "along the index image_by_age, from its beginning as far as the limit goes",
    "count_open_deliveries": "along the index of the open ones",
    "image_pages": _EVERY_IMAGE,
    "image_pages_kept": _EVERY_IMAGE,
}
SORTED: Final = {
    "blobs_of": "the files of the jobs of one page",
    "key_named": "API keys",
    "preset": "a caller's and everybody's of one name",
    "presets": "a caller's and everybody's",
    "job_targets": "engines and checkpoints",
    "last_key": "the tries of one request",
    "count_engines": "engines",
    "count_open_deliveries": "open deliveries, of which there is a limit",
    "count_models": "models",
    "count_jobs": "counts",
    "pace": "the last 16 jobs",
    "jobs_ahead": "counts",
    "kept_days": "counts",
    "events_of": "the changes of a job and its images",
    "expired_days": "what has expired and is ended in the next moments",
    "images_gone": "what has expired and is ended in the next moments",
    "images_by_engine_gone": "what has expired and is ended in the next moments",
    "images_found_gone": "what has expired and is ended in the next moments",
    "image_pages_found_gone": "the places of all that are found: of those that are gone",
}
"""The only queries that sort, and the few rows that they do it with."""
NOW_MS: Final = 10_000


@pytest.mark.parametrize(("name", "sql"), (QUERIES | STORE).items())
def test_a_query_scans_no_table_that_grows_and_sorts_no_more_than_a_few_rows(
    name: str, sql: str, database: SampleDatabase
) -> None:
    names = ("after", "limit", "now_ms", "is_gone", "seq", "priority", "ids", "uri", "kind", "tag", "at_ms")
    more = (
        "name",
        "status",
        "checkpoint",
        "model_type",
        "model_base",
        "job_ids",
        "match",
        "match_kept",
        "stem",
        "file",
        "digest",
        "prefix",
        "search",
        "since_ms",
        "low",
        "high",
        "is_dated",
    )
    search = ("engine", "lora", "kind", "first", "last", "created_after_ms", "created_before_ms")
    ids = (
        "engine_id",
        "job_id",
        "image_id",
        "model_id",
        "key_id",
        "key",
        "webhook_id",
        "delivery_id",
        "token_id",
        "name",
    )
    values = dict.fromkeys((*names, *more, *search, *ids)) if ":" in sql else (None,) * _places(sql)
    plan = [row[3] for row in database.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert plan
    scans = [step.removeprefix("SCAN ") for step in plan if step.startswith("SCAN ")]
    assert (
        name.removesuffix("_oldest") in WALKED or [scan for scan in scans if not scan.startswith(FEW)] == []
    )
    sorts = [step for step in plan if "TEMP B-TREE" in step]
    assert bool(sorts) <= (name.removesuffix("_oldest") in SORTED), plan


def _places(sql: str) -> int:
    """How many values a query with question marks takes."""
    numbered = [n for n in range(1, 10) if f"?{n}" in sql]
    return max(numbered) if numbered else sql.count("?")


def test_every_list_of_images_is_what_its_filters_let_through(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_engine("e1")
    traits = list(product(("e1", "e2"), (None, "deleted"), (None, NOW_MS - 1, NOW_MS, NOW_MS + 1)))
    for number, (engine_id, reason, expires_at_ms) in enumerate(traits * 2):
        job_id = f"j{number % 5}"
        if number < 5:
            database.add_job(number, job_id)
        database.add_image(
            f"i{number:02}", job_id, engine_id=engine_id, gone_reason=reason, expires_at_ms=expires_at_ms
        )
    rows = [
        (
            f"i{number:02}",
            f"j{number % 5}",
            engine_id,
            reason is not None or (ends is not None and ends <= NOW_MS),
        )
        for number, (engine_id, reason, ends) in enumerate(traits * 2)
    ]
    for engine_id, job_id, is_gone in product(
        (None, "e1", "e2", "e3"), (None, "j0", "j3"), (None, True, False)
    ):
        wanted = ImageFilter(
            job_id=None if job_id is None else JobId(job_id),
            engine_id=None if engine_id is None else EngineId(engine_id),
            is_gone=is_gone,
        )
        expected = [
            image_id
            for image_id, its_job, its_engine, it_is_gone in reversed(rows)
            if job_id in (None, its_job) and engine_id in (None, its_engine) and is_gone in (None, it_is_gone)
        ]
        page = list_images(reader, wanted, NOW_MS, 200)
        assert [row.image_id for row in page.items] == expected
        short = list_images(reader, wanted, NOW_MS, 3)
        assert [row.image_id for row in short.items] == expected[:3]
        assert (short.next_after is not None) is (len(expected) > 3)


def test_every_list_of_jobs_is_what_its_filters_let_through(database: SampleDatabase, reader: Reader) -> None:
    traits = list(product(("e1", "e2"), JobState)) * 2
    for seq, (engine_id, status) in enumerate(traits):
        database.add_job(seq, engine_id=engine_id, status=status, priority=seq % 3)
    for engine_id, status in product((None, "e1", "e3"), (None, *JobState)):
        wanted = JobFilter(status=status, engine_id=None if engine_id is None else EngineId(engine_id))
        expected = [
            f"j{seq}"
            for seq, (its_engine, its_status) in reversed(list(enumerate(traits)))
            if engine_id in (None, its_engine) and status in (None, its_status)
        ]
        seen: list[str] = []
        page = list_jobs(reader, wanted, 2)
        while True:
            seen += [row.job_id for row in page.items]
            if page.next_after is None:
                break
            page = list_jobs(reader, wanted, 2, page.next_after)
        assert seen == expected


def test_a_place_in_a_long_queue_is_the_number_of_those_before(
    database: SampleDatabase, reader: Reader
) -> None:
    """Through several blocks of job_count, with gaps, priorities and other engines between."""
    places = [
        (seq, seq % 7 % 3, "e1" if seq % 5 else "e2", "waiting" if seq % 4 else "failed")
        for seq in range(1, 1400)
    ]
    with database.connection:
        for seq, priority, engine_id, status in places:
            database.add_job(seq, priority=priority, engine_id=engine_id, status=status)
    for seq in (1, 511, 513, 1023, 1025, 1399):
        job = find_job(reader, JobId(f"j{seq}"))
        assert job is not None
        before = [
            other
            for other, priority, engine_id, status in places
            if (engine_id, status) == (job.engine_id, "waiting") and (-priority, other) < (-job.priority, seq)
        ]
        assert jobs_ahead(reader, job) == len(before)


def test_keys_take_turns_in_a_place_in_the_queue(database: SampleDatabase, reader: Reader) -> None:
    """As the queue itself says at the beginning, to within one turn of each other key."""
    weights: dict[KeyId | None, int] = {None: 1, KeyId("anna"): 1, KeyId("bert"): 3}
    for key_id in (KeyId("anna"), KeyId("bert")):
        database.add_key(key_id, key_id, weight=weights[key_id])
    queue, keys, priorities = JobQueue(), list(weights), (0, 2, 1)
    with database.connection:
        for seq in range(1, 700):
            key_id, priority = keys[seq * 7 % 11 % 3], priorities[seq % 3]
            database.add_job(seq, priority=priority, key_id=key_id)
            queue.put(JobId(f"j{seq}"), priority, seq, key_id, weights[key_id])
    place = 0
    while (job_id := queue.first()) is not None:
        job = find_job(reader, job_id)
        assert job is not None
        assert abs(jobs_ahead(reader, job) - place) <= len(keys)
        queue.take(job_id)
        place += 1


def test_counts_follow_every_change(database: SampleDatabase, reader: Reader) -> None:
    database.add_job(1)
    database.add_job(2, status="finished")
    database.add_image("a", "j1", size_bytes=3)
    database.add_image("b", "j1", size_bytes=4, gone_reason="deleted")
    database.set("job", "job_id", "j1", status="processing")
    counts = count_all(reader)
    assert counts.jobs == {"processing": 1, "finished": 1}
    assert (counts.images.count, counts.images.size_bytes) == (1, 3)
    database.set("image", "image_id", ImageId("a"), gone_reason="expired")
    assert (count_all(reader).images.count, count_all(reader).images.size_bytes) == (0, 0)
