"""The lines of refusals and of what admins change."""

import logging

import pytest

from api.audit import AT_ONCE, MAX_PATH, Refusals
from api.http.contract import problems
from kernel.protocol.api_keys import RevokeKey
from kernel.protocol.client import Done
from kernel.protocol.ids import KeyId
from tests.unit.api.stage import Stage


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one.getMessage() for one in caplog.records if one.name == "spoon.api.audit"]
    caplog.clear()
    return found


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_stranger_cannot_fill_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    refusals = Refusals(clock)
    for _ in range(1000):
        refusals.note(401, "key_missing", "GET", "/" + "x" * 9999, "192.0.2.7", None)
    written = lines(caplog)
    assert len(written) == AT_ONCE
    assert all(len(one) < MAX_PATH + 200 for one in written)
    clock.now_s = 1.0
    refusals.note(429, "too_many_requests", "GET", "/", "192.0.2.7", KeyId("k1"))
    (last,) = lines(caplog)
    assert f"unwritten={1000 - AT_ONCE}" in last
    assert "key_id=k1" in last


@pytest.mark.parametrize("status", [200, 404, 422, 503])
def test_other_responses_have_no_line(status: int, caplog: pytest.LogCaptureFixture) -> None:
    Refusals().note(status, "c", "GET", "/", "192.0.2.7", None)
    assert not lines(caplog)


def test_a_path_stays_in_its_line(caplog: pytest.LogCaptureFixture) -> None:
    Refusals().note(403, "c", "GET", "/a\naction=admin_act key_id=x", "192.0.2.7", None)
    (written,) = lines(caplog)
    assert "\n" not in written
    assert r'path="/a\naction=admin_act key_id=x"' in written


def test_refusals_say_who_was_refused_and_no_secret(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "refusals", Refusals())
    caplog.set_level(logging.INFO)
    key = stage.add_key("wall", role="viewer")
    headers = {"Authorization": f"Bearer {key}"}
    stage.get("/v1/jobs", headers={"Authorization": f"Bearer {key[:-1]}0x"})
    stage.get("/v1/jobs?prompt=private")
    stage.get("/v1/keys", headers=headers)
    stage.get("/v1/jobs", headers={"Host": "evil.example"} | headers)
    written = lines(caplog)
    wanted = ["code=key_unknown", "code=key_missing", "code=key_not_allowed", "code=forbidden_host"]
    assert [one.split()[2] for one in written] == wanted
    assert f"key_id={stage.keys['wall']}" in written[2]
    assert not any(key[-20:-1] in one or "private" in one for one in written)


def test_what_admins_change_is_in_the_log_and_what_they_read_is_not(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = {"Authorization": f"Bearer {stage.add_key()}"}
    assert stage.get("/v1/keys", headers=headers).status_code == 200
    assert not lines(caplog)
    path = f"/v1/keys/{stage.keys['admin']}"
    stage.bus.reactions[RevokeKey] = Done()
    assert stage.call("DELETE", path, headers=headers).status_code < 300
    (written,) = lines(caplog)
    assert "action=admin_act" in written
    assert f"key_id={stage.keys['admin']}" in written
