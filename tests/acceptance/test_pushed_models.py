"""A worker of another host that lacks a model's file gets it from the Manager, and draws with it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from engine_worker.embedded.shipped import MODELS
from kernel.protocol.client import (
    InviteWorker,
    JobAccepted,
    ModelAccepted,
    RegisterModel,
    SubmitJob,
    WorkerInvited,
)
from kernel.protocol.enums import EngineState, JobState, ModelType, WorkerRole
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.join import Join, write_join
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.specs import JobRequest
from tests.acceptance.orders import PLAIN, create_engine, submit, write_checkpoint
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import WORKER, environment
from tests.acceptance.server import Server

Process = subprocess.Popen[bytes]
BUS: Final = 'endpoint = "tcp://127.0.0.1:0"'
SCENES: Final = MODELS / "scenes-sd.safetensors"
"""19 MB."""


@pytest.fixture
def remote(folder: Path) -> Path:
    """What the other host has: nothing."""
    return folder / "remote"


class Host:
    """Starts workers that know no folder of the Manager's host."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.workers: list[Process] = []

    def start(self, engine_id: EngineId, *options: str, is_fake: bool = True) -> Process:
        """A worker for this engine, with a ticket of its own."""
        invited = self.server.line.ask(InviteWorker(engine_id=engine_id), WorkerInvited)
        ticket = self.server.folder / f"{invited.worker_id}.ticket"
        join = Join(
            role=WorkerRole.ENGINE,
            worker_id=invited.worker_id,
            endpoint=invited.endpoint,
            server_public_key=invited.server_public_key,
            public_key=invited.public_key,
            secret_key=invited.secret_key,
            token=invited.token,
            is_fake=is_fake,
        )
        ticket.touch(0o600)
        ticket.write_bytes(write_join(join))
        cache = options or ("--cache-folder", str(self.folder))
        command = [sys.executable, "-m", WORKER, "--join-file", str(ticket), *cache]
        with (self.server.folder / "remote.log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log, env=environment(self.server.folder))
        self.workers.append(process)
        return process

    def copied_bytes(self) -> int:
        """How much of any model is on its way."""
        return sum(file.stat().st_size for file in (self.folder / "parts").glob("*/model*"))

    def close(self) -> None:
        for process in self.workers:
            process.kill()
            process.wait(PATIENCE_S)


@pytest.fixture
def host(server: Server, remote: Path) -> Iterator[Host]:
    server.configure(bus=BUS)
    host = Host(server, remote)
    yield host
    host.close()


def register(server: Server, file: Path, model_type: ModelType = ModelType.CHECKPOINT) -> ModelId:
    ask = RegisterModel(name=file.stem, uri=file.as_uri(), model_type=model_type)
    accepted = server.line.ask(ask, ModelAccepted)
    server.records.wait_for_model(accepted.model_id)
    return accepted.model_id


def test_an_engine_draws_with_a_copy_that_outlived_a_killed_worker_and_a_killed_manager(
    server: Server, host: Host, remote: Path
) -> None:
    server.configure(models='push_rate = "10MB"', bus=BUS)
    server.start()
    engine_id = create_engine(server.line, register(server, SCENES))
    worker = host.start(engine_id)
    wait_for("some of the model", lambda: host.copied_bytes() > 2_000_000)
    worker.kill()
    server.kill()
    before_bytes = host.copied_bytes()
    assert 2_000_000 < before_bytes < SCENES.stat().st_size

    server.start()
    host.start(engine_id, is_fake=False)
    server.records.wait_for_engine(engine_id, EngineState.READY)
    job = server.records.wait_for_job(submit(server.line, engine_id, "a green star").job_id)

    assert job.status is JobState.FINISHED, job.error
    sha256 = hashlib.sha256(SCENES.read_bytes()).hexdigest()
    (cached,) = (remote / "files" / sha256).iterdir()
    assert hashlib.sha256(cached.read_bytes()).hexdigest() == sha256
    assert not list((remote / "parts").iterdir())
    assert f"from_bytes={before_bytes}" in (server.folder / "remote.log").read_text()


def test_other_jobs_go_on_while_the_lora_of_a_job_is_copied(
    server: Server, host: Host, remote: Path, folder: Path
) -> None:
    server.configure(models='push_rate = "500kB"', bus=BUS)
    server.start()
    lora = register(server, MODELS / "lora-striped-sd-kohya.safetensors", ModelType.LORA)
    engine_id = create_engine(server.line, server.records.model_named(PLAIN))
    host.start(engine_id, "--cache-folder", str(remote), "--map", f"{folder}={folder}")
    server.records.wait_for_engine(engine_id, EngineState.READY)
    assert host.copied_bytes() == 0, "the mapped folder has the checkpoint"

    request = JobRequest(prompt="a fox", seed=7, loras=(LoraUse(model_id=lora),))
    waits = server.line.ask(SubmitJob(engine_id=engine_id, request=request), JobAccepted).job_id
    wait_for("some of the LoRA", lambda: host.copied_bytes() > 0)
    goes_on = server.records.wait_for_job(submit(server.line, engine_id).job_id)

    assert goes_on.status is JobState.FINISHED
    assert server.records.job(waits).status is JobState.PROCESSING
    assert server.records.wait_for_job(waits).status is JobState.FINISHED


def test_a_file_that_was_changed_in_place_is_not_used(server: Server, host: Host, remote: Path) -> None:
    server.start()
    file = server.folder / "changed.safetensors"
    write_checkpoint(file)
    engine_id = create_engine(server.line, register(server, file))
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"x")
    host.start(engine_id)

    engine = server.records.wait_for_engine(engine_id, EngineState.ERROR)
    assert engine.error_code == "download_failed"
    assert engine.error is not None
    assert "spoon models retry" in engine.error
    assert not list((remote / "files").iterdir())
    assert not list((remote / "parts").iterdir())
