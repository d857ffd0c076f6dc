"""Whatever happens to jobs and images, the counted is what there is."""

from contextlib import closing
from functools import cache

import apsw
from hypothesis import given
from hypothesis import strategies as st

from kernel.shell.store import migrate

DAY_MS = 86_400_000
ENGINES = st.sampled_from(["e1", "e2"])
STATES = st.sampled_from(["waiting", "processing", "finished", "failed", "cancelled"])
SEQS = st.sampled_from([1, 2, 511, 512, 513, 5_000])
PRIORITIES = st.sampled_from([-1, 0, 7])
IMAGES = st.sampled_from(["a", "b", "c", "d"])
KEYS = st.sampled_from([None, "anna", "bert"])
REASONS = st.sampled_from([None, "expired", "deleted", "lost"])
TIMES = st.sampled_from([0, DAY_MS - 1, DAY_MS, 40 * DAY_MS])
SIZES = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(
        st.just(
            "INSERT INTO job (seq, job_id, engine_id, status, priority, key_id, spec, image_ids, attempts,"
            " crashes, warnings, created_at_ms) SELECT ?1, ?1, ?2, ?3, ?4, ?5, '{}', '', 0, 0, '', 0"
            " WHERE ?1 NOT IN (SELECT seq FROM job)"
        ),
        st.tuples(SEQS, ENGINES, STATES, PRIORITIES, KEYS),
    ),
    st.tuples(
        st.just("UPDATE job SET status = ?, attempts = attempts + 1 WHERE seq >= ?"), st.tuples(STATES, SEQS)
    ),
    st.tuples(
        st.just("UPDATE job SET priority = ?, engine_id = ? WHERE seq = ?"),
        st.tuples(PRIORITIES, ENGINES, SEQS),
    ),
    st.tuples(st.just("DELETE FROM job WHERE seq <= ?"), st.tuples(SEQS)),
    st.tuples(
        st.just(
            "INSERT INTO image (image_id, job_id, engine_id, position, file_name, mime, width_px, height_px,"
            " sha256, seed, downloads, size_bytes, created_at_ms, gone_reason)"
            " SELECT ?1, 'j', ?2, 0, ?1, '', 1, 1, '', 0, 0, ?3, ?4, ?5"
            " WHERE ?1 NOT IN (SELECT image_id FROM image)"
        ),
        st.tuples(IMAGES, ENGINES, SIZES, TIMES, REASONS),
    ),
    st.tuples(st.just("UPDATE image SET gone_reason = ? WHERE image_id <= ?"), st.tuples(REASONS, IMAGES)),
    st.tuples(
        st.just("UPDATE image SET size_bytes = ?, engine_id = ?, created_at_ms = ? WHERE image_id = ?"),
        st.tuples(SIZES, ENGINES, TIMES, IMAGES),
    ),
    st.tuples(st.just("DELETE FROM image WHERE engine_id = ?"), st.tuples(ENGINES)),
)


@given(steps=st.lists(STEPS, max_size=25))
def test_the_counts_are_what_there_is_after_any_history(
    steps: list[tuple[str, tuple[str | int | None, ...]]],
) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.deserialize("main", empty_database())
        for sql, values in steps:
            connection.execute(sql, values)
        for kept, true in (("job_count", "job_recount"), ("image_count", "image_recount")):
            counted = sorted(connection.execute(f"SELECT * FROM {kept}"))
            assert counted == sorted(connection.execute(f"SELECT * FROM {true}"))


@cache
def empty_database() -> bytes:
    """A database of the present schema, without rows."""
    with closing(apsw.Connection(":memory:")) as connection:
        migrate(connection)
        return connection.serialize("main")
