"""The start of the Manager: what a former life left open is put right, and nothing is done twice."""

import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import msgspec
import pytest

from kernel.protocol.client import (
    ClaimDownload,
    CreateEngine,
    ImagesPruned,
    JobAccepted,
    ModelAccepted,
    PruneImages,
    RegisterModel,
    SubmitJob,
)
from kernel.protocol.enums import EngineState, GoneReason, JobState, ModelType
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.specs import EngineSpec, JobRequest
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import a_job, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import MANAGER, environment
from tests.acceptance.server import Server


def refused_start(server: Server) -> tuple[int, str]:
    """The exit code and the words of a Manager that should not start."""
    ended = subprocess.run(
        [sys.executable, "-m", MANAGER, "--config", str(server.config_file)],
        stderr=subprocess.PIPE,
        env=environment(server.folder),
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return ended.returncode, ended.stderr.splitlines()[-1]


def test_jobs_that_a_killed_manager_had_given_out_wait_again_and_finish(
    server: Server, engine: EngineId, go: Path
) -> None:
    accepted = [submit(server.line, engine, f"[until {go}] {n}", count=2) for n in range(8)]
    server.records.wait_for_job(accepted[0].job_id, JobState.PROCESSING)
    server.kill()
    assert server.records.job(accepted[0].job_id).status is JobState.PROCESSING

    go.touch()
    server.start()

    for one in accepted:
        job = server.records.wait_for_job(one.job_id)
        assert (job.status, job.image_ids) == (JobState.FINISHED, one.image_ids)
    assert server.records.job(accepted[0].job_id).attempts == 2
    assert_whole(server)


def test_an_engine_that_was_running_is_closed_after_a_crash_and_started_by_no_one(
    server: Server, engine: EngineId
) -> None:
    server.records.wait_for_job(submit(server.line, engine).job_id)
    server.kill()
    assert server.records.engine(engine).status is not EngineState.CLOSED

    server.start()

    assert server.records.engine(engine).status is EngineState.CLOSED
    assert server.line.status().engines_running == 0


def test_a_second_manager_refuses_to_start_and_says_who_is_there(server: Server) -> None:
    server.start()
    assert server.manager is not None

    code, words = refused_start(server)

    assert code == 69
    assert f"in use by a Manager with process id {server.manager.pid}:" in words
    assert server.line.status().pid == server.manager.pid


def test_a_manager_of_another_folder_is_refused_the_same_bus_and_takes_no_traffic_away(
    server: Server, other_server: Server
) -> None:
    server.start()
    text = other_server.config_file.read_text()
    other_server.config_file.write_text(text.replace('folder = "bus"', f'folder = "{server.folder}/bus"'))

    code, words = refused_start(other_server)

    assert code == 69
    assert f"{server.folder}/bus is in use" in words
    assert server.line.status().pid


def test_a_damaged_database_is_refused(server: Server) -> None:
    for file in server.database_file.parent.glob(f"{server.database_file.name}*"):
        file.unlink()
    server.database_file.write_bytes(b"no database " * 1_000)

    code, words = refused_start(server)

    assert code == 65
    assert str(server.database_file) in words


def test_a_database_of_a_newer_version_is_refused(server: Server) -> None:
    newer = apsw.Connection(str(server.database_file))
    newer.pragma("user_version", 9_999)
    newer.close()

    code, words = refused_start(server)

    assert (code, ": upgrade" in words) == (65, True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[enginez]", "engines"),
        ('[bus]\nfolder = "' + "x" * 120 + '"', "set bus.folder to a shorter"),
        ('[bus]\nfolder = "/proc/version/bus"', "/proc/version/bus cannot be used"),
        ('[logs]\nfolder = "/proc/version/logs"', "or choose another folder (`spoon config check`"),
        ('[bus]\nfolder = "~nobody-here/bus"', "home directory"),
    ],
    ids=[
        "misspelt",
        "too long a path",
        "below a file",
        "no place for logs",
        "nobody's home",
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_with_the_way_out(
    server: Server, line: str, told: str
) -> None:
    text = server.config_file.read_text().replace('[bus]\nfolder = "bus"', "")
    server.config_file.write_text(f"{text}\n{line}\n")

    code, words = refused_start(server)

    assert code == 78
    assert told in words


def test_pictures_that_belong_to_nothing_are_swept_and_all_else_stays(
    server: Server, engine: EngineId
) -> None:
    accepted = submit(server.line, engine)
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    server.kill()
    picture = server.images / server.records.image(accepted.image_ids[0]).file_name
    orphan = picture.with_stem(server.line.ids.text())
    orphan.write_bytes(b"a picture whose row was never saved")
    picture.with_name(f"{picture.name}.part").write_bytes(b"half of")
    holiday = server.images / "holiday.png"
    holiday.write_bytes(b"a person's own picture")

    server.start()

    shown = {file for file in server.images.iterdir() if not file.name.startswith(".")}
    assert shown == {picture, holiday}


def test_a_picture_whose_file_is_gone_is_lost_until_it_is_put_back_but_not_while_its_disk_is_away(
    server: Server, engine: EngineId
) -> None:
    image_ids = submit(server.line, engine, count=2).image_ids
    wait_for("two pictures", lambda: len(server.records.images()) == 2)
    server.kill()
    first, second = (server.images / server.records.image(one).file_name for one in image_ids)
    data = first.read_bytes()

    def states() -> list[GoneReason | None]:
        return [server.records.image(one).gone_reason for one in image_ids]

    away = server.images.rename(server.folder / "away")
    server.start()
    assert states() == [None, None], "another folder stands in its place"
    server.kill()
    shutil.rmtree(server.images)
    away.rename(server.images)
    first.unlink()
    server.start()
    assert states() == [GoneReason.LOST, None]
    assert server.line.refusal(ClaimDownload(image_id=image_ids[0])) == "image_gone"
    server.kill()
    first.write_bytes(data)
    server.start()
    assert states() == [None, None]
    second.unlink()
    pruned = server.line.ask(PruneImages(missing=True), ImagesPruned)
    assert (pruned.images, pruned.missing_files) == (1, (second.name,))
    assert states() == [None, GoneReason.LOST]


def test_an_answer_is_the_same_after_a_restart_and_nothing_is_done_twice(
    server: Server, engine: EngineId
) -> None:
    ask = a_job(engine, "once")
    first = server.line.ask(ask, JobAccepted, key="the key")
    server.kill()
    server.start()

    assert server.line.ask(ask, JobAccepted, key="the key") == first
    assert server.line.refusal(a_job(engine, "other"), key="the key") == "idempotency_key_reused"
    assert [job.job_id for job in server.records.jobs()] == [first.job_id]


def test_a_model_that_was_being_inspected_is_inspected_after_a_restart(server: Server, folder: Path) -> None:
    server.start()
    ask = RegisterModel(
        name="late", uri=f"file://{folder}/checkpoint.safetensors", model_type=ModelType.CHECKPOINT
    )
    model_id = server.line.ask(ask, ModelAccepted).model_id
    server.kill()
    server.start()

    server.records.wait_for_model(model_id)


NAN = float("nan")


@pytest.mark.parametrize(
    "ask",
    [
        SubmitJob(request=JobRequest(seed=2**63)),
        SubmitJob(request=JobRequest(seed=2**63 - 1, count=2)),
        SubmitJob(request=JobRequest(), priority=2**63),
        SubmitJob(request=JobRequest(guidance_scale=NAN)),
        SubmitJob(request=JobRequest(scheduler_config={"eta": NAN})),
    ],
    ids=["seed", "last seed", "priority", "guidance scale", "scheduler option"],
)
def test_a_job_with_a_number_that_no_database_holds_is_refused(
    server: Server, engine: EngineId, ask: SubmitJob
) -> None:
    """Stored, it would end the Manager, and every later one at its start."""
    assert server.line.refusal(msgspec.structs.replace(ask, engine_id=engine)) == "invalid_field"
    assert server.records.jobs() == []


def test_an_engine_with_a_number_that_no_database_holds_is_refused(server: Server, plain: ModelId) -> None:
    server.start()
    spec = EngineSpec(checkpoint=plain, guidance_scale=NAN)
    assert server.line.refusal(CreateEngine(spec=spec)) == "invalid_field"


def test_the_largest_seed_is_a_seed(server: Server, engine: EngineId) -> None:
    ask = SubmitJob(engine_id=engine, request=JobRequest(seed=2**63 - 1))
    accepted = server.line.ask(ask, JobAccepted)

    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    assert server.records.image(accepted.image_ids[0]).seed == 2**63 - 1
