"""Requests a minute: a bucket for each key with a limit."""

import pytest
from msgspec.structs import replace

from api.request_rates import RequestRates
from kernel.protocol.api_keys import KeyLimits
from kernel.protocol.enums import Role
from kernel.protocol.errors import TooFast
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow
from tests.unit.api.stage import Stage

ROW = KeyRow(
    key_id=KeyId("k1"),
    name="anna",
    role=Role.USER,
    digest="",
    created_at_ms=0,
    issued_at_ms=0,
    limits=KeyLimits(max_requests_a_minute=30),
)


class Clock:
    now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


def taken(rates: RequestRates, row: KeyRow, tries: int) -> int:
    """How many of so many requests are let through."""
    through = 0
    for _ in range(tries):
        try:
            rates.take(row)
        except TooFast:
            continue
        through += 1
    return through


def test_a_minute_s_requests_may_come_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    rates = RequestRates(clock)
    assert taken(rates, ROW, 100) == 30
    with pytest.raises(TooFast) as refused:
        rates.take(ROW)
    assert refused.value.retry_after_s == pytest.approx(2.0)
    clock.now_s += 2.01
    assert taken(rates, ROW, 10) == 1
    clock.now_s += 3600
    assert taken(rates, ROW, 100) == 30
    assert taken(rates, replace(ROW, key_id=KeyId("k2")), 100) == 30, "each key has a bucket of its own"


def test_a_lower_limit_holds_at_once() -> None:
    rates = RequestRates(Clock())
    assert taken(rates, ROW, 1) == 1
    assert taken(rates, replace(ROW, limits=KeyLimits(max_requests_a_minute=2)), 100) == 2


def test_without_a_limit_nothing_is_counted() -> None:
    rates = RequestRates(Clock())
    assert taken(rates, replace(ROW, limits=KeyLimits()), 1000) == 1000
    for _ in range(1000):
        rates.take(None)


def test_a_request_too_many_is_a_429_with_its_time_and_other_keys_go_on(stage: Stage) -> None:
    slow, other = stage.add_key("slow", limits='{"max_requests_a_minute": 2}'), stage.add_key("other")
    headers = {"Authorization": f"Bearer {slow}"}
    assert [stage.get("/v1/jobs", headers=headers).status_code for _ in range(3)] == [200, 200, 429]
    refused = stage.get("/v1/models", headers=headers)
    assert refused.json["code"] == "key_max_requests_a_minute"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert stage.get("/v1/jobs", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    assert stage.get("/v1/health/live", headers=headers).status_code == 200
