"""A request that is sent again has the key of the one before, also after a restart; a new one has its own."""

from collections.abc import Mapping

import falcon
import falcon.testing
import pytest

from api.http.compat.openai.retries import MAX_KEPT, WINDOW_MS, Retries, digest_of, is_retry
from tests.unit.api.stage import Stage

DIGEST = "d" * 64


class Clock:
    now_ms = 10_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retries(stage: Stage, clock: Clock) -> Retries:
    return Retries(stage.reader, clock)


def request(retry: str | None = None, path: str = "/v1/images/generations", key: str = "k") -> falcon.Request:
    headers = {"Authorization": f"Bearer {key}"}
    if retry is not None:
        headers["X-Stainless-Retry-Count"] = retry
    return falcon.testing.create_req(path=path, headers=headers)


def test_each_request_has_a_key_of_its_own(retries: Retries) -> None:
    keys = {retries.key_of(request(count), DIGEST) for count in (None, "0", "", "x", "-1", "٣")}
    assert len(keys) == 6
    assert all(key.startswith(f"openai:{DIGEST}:") for key in keys)


@pytest.mark.parametrize("count", ["1", "2", "999999999999"])
def test_a_retry_has_the_key_of_the_newest_request(retries: Retries, count: str) -> None:
    retries.key_of(request("0"), DIGEST)
    newest = retries.key_of(request("0"), DIGEST)
    assert retries.key_of(request(count), DIGEST) == newest
    assert retries.key_of(request(count), "e" * 64) != newest


def test_a_retry_is_forgotten_after_a_while(retries: Retries, clock: Clock) -> None:
    first = retries.key_of(request("0"), DIGEST)
    clock.now_ms += WINDOW_MS
    assert retries.key_of(request("1"), DIGEST) == first
    clock.now_ms += 1
    assert retries.key_of(request("1"), DIGEST) != first


def test_a_retry_after_a_restart_is_found_among_the_keys_on_disk(
    stage: Stage, retries: Retries, clock: Clock
) -> None:
    add = "INSERT INTO idempotency (key, digest, reply, created_at_ms) VALUES (?, x'00', x'00', ?)"
    for key, at_ms in (("a", 5), ("c", 7), ("b", 6)):
        stage.database.connection.execute(add, (f"openai:{DIGEST}:{key}", clock.now_ms + at_ms))
    stage.database.connection.execute(add, ("openai:" + "e" * 64 + ":d", clock.now_ms + 9))
    assert retries.key_of(request("1"), DIGEST) == f"openai:{DIGEST}:c"
    clock.now_ms += WINDOW_MS + 8
    assert not retries.key_of(request("1"), DIGEST).endswith(":c")


def test_the_newest_requests_are_kept(retries: Retries) -> None:
    keys = {n: retries.key_of(request(), f"{n:064}") for n in range(MAX_KEPT + 1)}
    assert retries.key_of(request("1"), f"{MAX_KEPT:064}") == keys[MAX_KEPT]
    assert retries.key_of(request("1"), f"{1:064}") == keys[1]
    assert retries.key_of(request("1"), f"{0:064}") != keys[0]


def test_the_digest_is_of_the_caller_the_route_and_all_that_is_asked_for() -> None:
    fields: Mapping[str, object] = {"prompt": "a fox", "n": 1}
    files = [("image", b"one"), ("image", b"two")]
    same = digest_of(request(), fields, files)
    assert digest_of(request("1"), {"n": 1, "prompt": "a fox"}, files) == same
    others = [
        digest_of(request(key="other"), fields, files),
        digest_of(request(path="/v1/images/edits"), fields, files),
        digest_of(request(), {**fields, "n": 2}, files),
        digest_of(request(), fields, files[::-1]),
        digest_of(request(), fields, [("image", b"one\nimage 3 two")]),
        digest_of(request(), fields, files[:1]),
    ]
    assert len({same, *others}) == 7
    assert is_retry(request("1"))
