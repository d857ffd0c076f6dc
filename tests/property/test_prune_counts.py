"""A dry run's count, made of whole days, is the number of images that a real run would end."""

from contextlib import closing

import apsw
from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol.client import PruneImages
from kernel.protocol.ids import EngineId
from kernel.shell.pruning import ALL, DAY_MS, Pruning
from tests.property.test_counts import empty_database

NOW_MS = 5 * DAY_MS
TIMES = st.integers(0, 10).map(lambda half: half * DAY_MS // 2)
IMAGES = st.tuples(
    st.sampled_from(["e1", "e2"]),
    st.integers(1, 5),
    TIMES,
    st.none() | st.sampled_from([NOW_MS - 1, NOW_MS, NOW_MS + 1]),
    st.sampled_from([None, None, None, "deleted"]),
)
ASKS = st.builds(
    PruneImages,
    engine_id=st.none() | st.sampled_from([EngineId("e1"), EngineId("e2")]),
    older_than_s=st.none() | TIMES.map(lambda ms: ms / 1000),
    keep_bytes=st.none() | st.integers(0, 60),
    dry_run=st.just(True),
)


@given(images=st.lists(IMAGES, max_size=30), ask=ASKS)
def test_a_dry_run_counts_what_a_real_run_ends(
    images: list[tuple[str, int, int, int | None, str | None]], ask: PruneImages
) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.deserialize("main", empty_database())
        for number, image in enumerate(images):
            connection.execute(
                "INSERT INTO image (image_id, job_id, position, file_name, mime, width_px, height_px, sha256,"
                " seed, downloads, engine_id, size_bytes, created_at_ms, expires_at_ms, gone_reason)"
                " VALUES (?, 'j', 0, '', '', 1, 1, '', 0, 0, ?, ?, ?, ?, ?)",
                (str(number), *image),
            )
        pruning = Pruning(connection)
        counted = pruning.counted(ask, NOW_MS)
        ended = pruning.due(ask, NOW_MS, ALL)
    assert (counted.counted, counted.size_bytes) == (len(ended.images), ended.size_bytes)
