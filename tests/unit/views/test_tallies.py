"""What has happened is counted once, by the triggers, in the transaction of the change itself."""

from kernel.views.counts import (
    duration_bounds_ms,
    ended_deliveries,
    open_deliveries,
    open_jobs_of_engines,
    open_jobs_of_keys,
    tallies,
)
from kernel.views.reader import Reader
from kernel.views.rows import OpenJobs, Tally
from tests.unit.views.database import SampleDatabase


def test_a_jobs_wait_counts_when_it_first_begins_and_its_run_when_it_ends(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_engine("e1", name="studio")
    for number, end in enumerate(("finished", "failed"), 1):
        database.add_job(number, f"j{number}", created_at_ms=1_000)
        database.set("job", "job_id", f"j{number}", status="processing", started_at_ms=3_000 * number)
        database.set("job", "job_id", f"j{number}", status="waiting")
        database.set("job", "job_id", f"j{number}", status="processing", started_at_ms=20_000)
        database.set("job", "job_id", f"j{number}", status=end, finished_at_ms=20_100)
        database.set("job", "job_id", f"j{number}", status=end, finished_at_ms=20_100)
    found = {(one.what, one.bound_ms): one for one in tallies(reader)}
    assert found == {
        ("wait", 2_500): Tally("studio", "wait", 2_500, 1, 2_000),
        ("wait", 5_000): Tally("studio", "wait", 5_000, 1, 5_000),
        ("finished", 100): Tally("studio", "finished", 100, 1, 100),
        ("failed", 100): Tally("studio", "failed", 100, 1, 100),
    }


def test_a_clock_that_was_set_back_and_a_job_that_never_began_count_as_no_time(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_engine("e1", name="studio")
    database.add_job(1, "j1", created_at_ms=9_000)
    database.set("job", "job_id", "j1", status="processing", started_at_ms=1_000)
    database.add_job(2, "j2", created_at_ms=9_000)
    database.set("job", "job_id", "j2", status="cancelled", finished_at_ms=50_000)
    assert [(one.what, one.bound_ms, one.total) for one in tallies(reader)] == [
        ("cancelled", 100, 0),
        ("wait", 100, 0),
    ]


def test_images_count_with_their_pixels_and_downloads_with_their_bytes_until_the_engine_is_deleted(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_engine("e1", name="studio")
    database.add_job(1, "j1")
    for number in range(3):
        database.add_image(f"i{number}", "j1", width_px=512, height_px=768, size_bytes=1_000)
    database.set("image", "image_id", "i1", downloads=1)
    database.set("image", "image_id", "i1", gone_reason="deleted")
    assert tallies(reader) == [
        Tally("studio", "download", 0, 1, 1_000),
        Tally("studio", "image", 0, 3, 3 * 512 * 768),
    ]
    database.connection.execute("DELETE FROM engine")
    database.set("image", "image_id", "i2", downloads=1)
    assert tallies(reader) == []
    assert database.connection.execute("SELECT count(*) FROM tally").get == 0


def test_the_last_bound_is_above_every_duration(reader: Reader) -> None:
    bounds_ms = duration_bounds_ms(reader)
    assert bounds_ms == tuple(sorted(set(bounds_ms)))
    assert bounds_ms[-1] == 2**53 - 1


def test_open_jobs_are_counted_by_engine_and_by_key_also_where_there_are_none(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_engine("e1", name="studio")
    database.add_engine("e2", name="idle")
    database.add_key("k1", "alice")
    database.add_key("k2", "bob")
    database.add_key("k3", "carol", revoked_at_ms=5)
    for number, status in enumerate(("waiting", "waiting", "processing", "finished"), 1):
        database.add_job(number, f"j{number}", status=status, key_id="k1")
    assert open_jobs_of_engines(reader) == [OpenJobs("studio", 2, 1), OpenJobs("idle", 0, 0)]
    assert sorted(map(repr, open_jobs_of_keys(reader))) == sorted(
        map(repr, [OpenJobs("alice", 2, 1), OpenJobs("bob", 0, 0)])
    )


def test_callbacks_count_each_time_that_they_end_also_when_they_are_forgotten(
    database: SampleDatabase, reader: Reader
) -> None:
    for number in range(1, 5):
        database.add_delivery(number, f"d{number}", status="waiting", ended_at_ms=None)
    database.set("delivery", "delivery_id", "d1", status="sending")
    database.set("delivery", "delivery_id", "d2", status="failed", ended_at_ms=5)
    database.set("delivery", "delivery_id", "d2", status="waiting", ended_at_ms=None)
    for _ in range(2):
        database.set("delivery", "delivery_id", "d2", status="delivered", ended_at_ms=6)
    database.set("delivery", "delivery_id", "d3", status="failed", ended_at_ms=7)
    database.connection.execute("DELETE FROM delivery WHERE delivery_id = 'd3'")
    assert open_deliveries(reader) == {"sending": 1, "waiting": 1}
    assert ended_deliveries(reader) == {"delivered": 1, "failed": 2}
