"""What those who run the server can ask it: versions, disks, checks and the logs of its workers."""

import threading
from collections.abc import Iterator

import pytest

from api.http.framework.series import Series
from api.installation.diagnosis import CheckResult, Verdict
from kernel.process.log import line
from kernel.process.worker_logs import LAUNCHED, log_file
from kernel.protocol.errors import ManagerUnreachable
from kernel.protocol.version import VERSION
from tests.unit.api.stage import Stage, fields_of

WELL = CheckResult(subject="a", verdict=Verdict.OK, found="well")


def test_the_system_has_versions_disks_and_what_the_manager_says(stage: Stage) -> None:
    stage.database.connection.pragma("user_version", 42)
    stage.database.add_model("m7", stored="ab.safetensors", size_bytes=7)
    stage.database.add_model("m8", stored="ab.safetensors", size_bytes=7)
    found = stage.get("/v1/system").json
    assert (found["storage"]["models"]["files"], found["storage"]["models"]["used_bytes"]) == (1, 7)
    assert (found["manager"]["phase"], found["error"]) == ("running", None)
    assert found["versions"]["automatic_spoon"] == VERSION
    assert found["versions"]["schema_number"] == 42
    assert found["versions"]["packages"]["falcon"]
    images = found["storage"]["images"]
    assert (images["path"], found["storage"]["min_free_bytes"]) == (str(stage.settings.images.folder), 0)
    assert 0 < images["free_bytes"] <= images["total_bytes"]
    assert found["storage"]["database"]["used_bytes"] > 0
    assert found["storage"]["logs"]["free_bytes"] is None  # there is no such folder


def test_the_system_is_shown_while_the_manager_does_not_answer(stage: Stage) -> None:
    stage.bus.status_answer = ManagerUnreachable()
    result = stage.get("/v1/system")
    assert (result.status_code, result.json["manager"]) == (200, None)
    assert result.json["error"]["code"] == ManagerUnreachable.code
    assert result.json["storage"]["images"]["free_bytes"]


@pytest.mark.parametrize("path", ["/v1/system", "/v1/system/doctor", "/v1/engines/e1/log"])
def test_all_this_is_for_admins_alone(stage: Stage, path: str) -> None:
    stage.add_key()
    user = stage.add_key("anna", "user")
    assert stage.get(path, headers={"Authorization": f"Bearer {user}"}).status_code == 403


def test_the_doctor_finds_what_the_command_finds_on_this_machine(stage: Stage) -> None:
    found = stage.get("/v1/system/doctor").json
    while not found["is_complete"]:
        found = stage.get("/v1/system/doctor").json
    by_subject = {one["subject"]: one for one in found["items"]}
    assert by_subject["Manager"]["verdict"] == "ok"
    assert by_subject["device cpu"]["found"] == "CPU, 4 B of 8 B free"
    assert {"python", "own files", "images.folder", "disk", "socket paths"} <= by_subject.keys()
    (absent,) = (one for one in found["items"] if one["subject"] == "models.folders")
    assert absent["remedy"]


def test_a_check_that_hangs_holds_nobody_up_and_is_not_begun_again() -> None:
    may_end, begun = threading.Event(), []

    def checks() -> Iterator[CheckResult]:
        begun.append(1)
        yield WELL
        may_end.wait()
        yield WELL

    series = Series("checks", checks)
    while not (found := series.look(0.0))[0]:
        pass
    assert found == ((WELL,), False)
    may_end.set()
    assert series.look(30.0) == ((WELL, WELL), True)
    assert len(begun) == 1
    assert series.look(30.0)[1]
    assert len(begun) == 2


def test_a_check_that_breaks_is_told_with_what_was_found_before_it() -> None:
    def checks() -> Iterator[CheckResult]:
        yield WELL
        raise OSError("no such disk")

    broken = CheckResult(subject="b", verdict=Verdict.NOTE, found="no such disk")
    assert Series("checks", checks, lambda error: broken).look(30.0) == ((WELL, broken), True)
    assert Series("checks", checks).look(30.0) == ((WELL,), True)


def test_the_log_of_an_engine_is_that_of_its_workers(stage: Stage) -> None:
    assert stage.get("/v1/engines/portraits/log").status_code == 404
    stage.database.add_engine("e1", name="portraits")
    assert stage.get("/v1/engines/portraits/log").json == {"items": []}
    folder = stage.settings.logs_folder
    folder.mkdir()
    note = line(LAUNCHED, worker_id="w1-1", engine_id="e1")
    log_file(folder, "w1-1").write_text(f"{note}\nthe last\n")
    (found,) = stage.get("/v1/engines/portraits/log", query_string="lines=1").json["items"]
    assert (found["worker_id"], found["lines"], found["is_cut"]) == ("w1-1", ["the last"], True)
    result = stage.get("/v1/engines/portraits/log", query_string="lines=1001")
    assert (result.status_code, set(fields_of(result))) == (422, {"lines"})
