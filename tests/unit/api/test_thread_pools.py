"""Each kind of request has threads of its own, and nothing that waits long has the last ones."""

import pytest

from api.http.framework.openapi import CODES
from api.http.framework.thread_pools import ASKING, HEAVY_BYTES, PROBE_PATHS, Pool, Pools, pool_of, shares_of
from conf.settings import Server
from kernel.protocol.errors import TooManyRequests
from tests.unit.api.stage import Stage

SHARES = {Pool.QUICK: 1, Pool.READ: 1, Pool.ASK: 2}


@pytest.mark.parametrize(
    ("method", "path", "size", "pool"),
    [
        ("GET", "/v1/health/live", 0, Pool.QUICK),
        ("HEAD", "/v1/health/live/", 0, Pool.QUICK),
        ("GET", "/v1/health/ready", 0, Pool.PROBE),
        ("GET", "/v1/devices", 0, Pool.PROBE),
        ("GET", "/v1/jobs", 0, Pool.READ),
        ("GET", "/v1/events", 0, Pool.READ),
        ("GET", "/v1/images/pages", 0, Pool.READ),
        ("GET", "/v1/images/zip", 0, Pool.ASK),
        ("GET", "/v1/images/i1/thumbnail", 0, Pool.THUMBNAIL),
        ("GET", "/nowhere", 0, Pool.READ),
        ("GET", "/v1/images/i1/download", 0, Pool.ASK),
        ("GET", "/v1/images/i1/content", 0, Pool.ASK),
        ("POST", "/v1/jobs", HEAVY_BYTES, Pool.ASK),
        ("POST", "/v1/jobs", HEAVY_BYTES + 1, Pool.HEAVY),
        ("POST", "/v1/models/upload", 10**9, Pool.UPLOAD),
        ("DELETE", "/v1/jobs/j1", 0, Pool.ASK),
        ("PATCH", "/v1/engines/e1/stop", 0, Pool.ASK),
    ],
)
def test_each_request_has_its_pool(method: str, path: str, size: int, pool: Pool) -> None:
    assert pool_of(method, path, size) is pool


def test_every_route_that_asks_the_manager_is_in_a_pool_for_that(stage: Stage) -> None:
    document = stage.get("/openapi.json").json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            pool = pool_of(method.upper(), path, 0)
            codes = {code for answer in operation["responses"].values() for code in answer.get(CODES, ())}
            asks = TooManyRequests.code in codes or path in PROBE_PATHS
            assert asks == (pool in ASKING | {Pool.PROBE, Pool.UPLOAD}), path


def test_a_pool_gives_as_many_threads_as_it_has_and_others_have_theirs() -> None:
    pools: Pools[str] = Pools(SHARES)
    for name in ("a", "b", "c"):
        pools.put(Pool.ASK, name)
    assert [pools.take(), pools.take(), pools.take()] == [(Pool.ASK, "a"), (Pool.ASK, "b"), None]
    pools.put(Pool.READ, "d")
    pools.put(Pool.QUICK, "e")
    assert [pools.take(), pools.take()] == [(Pool.QUICK, "e"), (Pool.READ, "d")]
    pools.leave(Pool.ASK)
    assert pools.take() == (Pool.ASK, "c")


def test_there_is_room_while_a_thread_is_left_that_nobody_waits_for() -> None:
    pools: Pools[str] = Pools(SHARES)
    assert pools.has_free_thread(Pool.ASK)
    pools.put(Pool.ASK, "a")
    pools.put(Pool.ASK, "b")
    assert not pools.has_free_thread(Pool.ASK)
    assert pools.clear(Pool.ASK) == ["a", "b"]
    assert pools.has_free_thread(Pool.ASK)


def test_who_comes_back_counts_even_where_there_is_no_room() -> None:
    pools: Pools[str] = Pools(SHARES)
    for name in ("a", "b", "c"):
        pools.put(Pool.READ, name)
    assert pools.take() == (Pool.READ, "a")
    pools.leave(Pool.READ)
    assert pools.take() == (Pool.READ, "b")
    pools.come_back(Pool.READ)
    pools.leave(Pool.READ)
    assert pools.take() is None
    pools.leave(Pool.READ)
    assert pools.take() == (Pool.READ, "c")


@pytest.mark.parametrize("threads", [1, 4, 64, 1_000])
def test_every_pool_has_threads_however_few_are_configured(threads: int) -> None:
    assert min(shares_of(Server(threads=threads)).values()) >= 1
