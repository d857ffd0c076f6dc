"""Each kind of request has threads of its own, and nothing that waits long has the last ones."""

import pytest

from api.http.framework.thread_lanes import ASKING, HEAVY_BYTES, Lane, Lanes, lane_of, shares_of
from conf.settings import Server
from tests.unit.api.stage import Stage

SHARES = {Lane.QUICK: 1, Lane.READ: 1, Lane.ASK: 2}


@pytest.mark.parametrize(
    ("method", "path", "size", "lane"),
    [
        ("GET", "/v1/health/live", 0, Lane.QUICK),
        ("HEAD", "/v1/health/live/", 0, Lane.QUICK),
        ("GET", "/v1/health/ready", 0, Lane.PROBE),
        ("GET", "/v1/devices", 0, Lane.PROBE),
        ("GET", "/v1/jobs", 0, Lane.READ),
        ("GET", "/v1/events", 0, Lane.READ),
        ("GET", "/nowhere", 0, Lane.READ),
        ("GET", "/v1/images/i1/download", 0, Lane.ASK),
        ("POST", "/v1/jobs", HEAVY_BYTES, Lane.ASK),
        ("POST", "/v1/jobs", HEAVY_BYTES + 1, Lane.HEAVY),
        ("POST", "/v1/models/upload", 10**9, Lane.UPLOAD),
        ("DELETE", "/v1/jobs/j1", 0, Lane.ASK),
        ("PATCH", "/v1/engines/e1/stop", 0, Lane.ASK),
    ],
)
def test_each_request_has_its_lane(method: str, path: str, size: int, lane: Lane) -> None:
    assert lane_of(method, path, size) is lane


def test_every_route_that_asks_the_manager_is_in_a_lane_for_that(stage: Stage) -> None:
    document = stage.get("/openapi.json").json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lane = lane_of(method.upper(), path, 0)
            asks = {"429", "502"} <= operation["responses"].keys() or path == "/v1/health/ready"
            assert asks == (lane in ASKING | {Lane.PROBE, Lane.UPLOAD}), path


def test_a_lane_gives_as_many_threads_as_it_has_and_others_have_theirs() -> None:
    lanes: Lanes[str] = Lanes(SHARES)
    for name in ("a", "b", "c"):
        lanes.put(Lane.ASK, name)
    assert [lanes.take(), lanes.take(), lanes.take()] == [(Lane.ASK, "a"), (Lane.ASK, "b"), None]
    lanes.put(Lane.READ, "d")
    lanes.put(Lane.QUICK, "e")
    assert [lanes.take(), lanes.take()] == [(Lane.QUICK, "e"), (Lane.READ, "d")]
    lanes.leave(Lane.ASK)
    assert lanes.take() == (Lane.ASK, "c")


def test_there_is_room_while_a_thread_is_left_that_nobody_waits_for() -> None:
    lanes: Lanes[str] = Lanes(SHARES)
    assert lanes.has_room(Lane.ASK)
    lanes.put(Lane.ASK, "a")
    lanes.put(Lane.ASK, "b")
    assert not lanes.has_room(Lane.ASK)
    assert lanes.clear(Lane.ASK) == ["a", "b"]
    assert lanes.has_room(Lane.ASK)


def test_who_comes_back_counts_even_where_there_is_no_room() -> None:
    lanes: Lanes[str] = Lanes(SHARES)
    for name in ("a", "b", "c"):
        lanes.put(Lane.READ, name)
    assert lanes.take() == (Lane.READ, "a")
    lanes.leave(Lane.READ)
    assert lanes.take() == (Lane.READ, "b")
    lanes.come_back(Lane.READ)
    lanes.leave(Lane.READ)
    assert lanes.take() is None
    lanes.leave(Lane.READ)
    assert lanes.take() == (Lane.READ, "c")


@pytest.mark.parametrize("threads", [1, 4, 64, 1_000])
def test_every_lane_has_threads_however_few_are_configured(threads: int) -> None:
    assert min(shares_of(Server(threads=threads)).values()) >= 1
