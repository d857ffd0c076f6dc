"""A worker of another host that lacks a model's file gets it from the Manager, and draws with it."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from engine_worker.embedded.shipped import MODELS
from kernel.protocol.client import JobAccepted, ModelAccepted, RegisterModel, SubmitJob
from kernel.protocol.enums import EngineState, JobState, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.specs import JobRequest
from tests.acceptance.far_host import POOL, FarHost, far_host, new_token
from tests.acceptance.orders import PLAIN, create_engine, submit, write_checkpoint
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

Process = subprocess.Popen[bytes]
SCENES: Final = MODELS / "scenes-sd.safetensors"
"""19 MB."""


@pytest.fixture
def remote(folder: Path) -> Path:
    """What the other host has: nothing."""
    return folder / "remote"


class Host:
    """Starts workers that know no folder of the Manager's host."""

    def __init__(self, far: FarHost, folder: Path) -> None:
        self.far, self.folder = far, folder
        self.bus = f'endpoint = "{far.manager}"'

    def start(self, server: Server, *options: str, is_fake: bool = True) -> Process:
        """A worker of the pool."""
        self.far.takes(new_token(server))
        roots = ("--file-root", str(self.far.folder))
        cache = options or ("--cache-folder", str(self.folder))
        return self.far.starts(*roots, *cache, is_fake=is_fake)

    def copied_bytes(self) -> int:
        """How much of any model is on its way."""
        return sum(file.stat().st_size for file in (self.folder / "parts").glob("*/model*"))


@pytest.fixture
def host(server: Server, remote: Path, folder: Path) -> Iterator[Host]:
    with far_host(server, folder / "far") as far:
        yield Host(far, remote)


def register(server: Server, file: Path, model_type: ModelType = ModelType.CHECKPOINT) -> ModelId:
    ask = RegisterModel(name=file.stem, uri=file.as_uri(), model_type=model_type)
    accepted = server.line.ask(ask, ModelAccepted)
    server.records.wait_for_model(accepted.model_id)
    return accepted.model_id


def test_an_engine_draws_with_a_copy_that_outlived_a_killed_manager_and_a_killed_worker(
    server: Server, host: Host, remote: Path
) -> None:
    server.configure(models='push_rate = "10MB"', engines='come_back = "0s"', bus=host.bus)
    server.start()
    engine_id = create_engine(server.line, register(server, SCENES), start=True, pool=POOL)
    worker = host.start(server)
    wait_for("some of the model", lambda: host.copied_bytes() > 2_000_000)
    server.kill()
    before_bytes = host.copied_bytes()
    server.start()
    wait_for(
        "more of the model, without a new worker", lambda: host.copied_bytes() > before_bytes + 2_000_000
    )

    worker.kill()
    wait_for("the end of the worker", lambda: not host.far.workers())
    before_bytes = host.copied_bytes()
    assert before_bytes < SCENES.stat().st_size
    waiting = submit(server.line, engine_id, "a green star")
    host.start(server, is_fake=False)
    job = server.records.wait_for_job(waiting.job_id)

    assert job.status is JobState.FINISHED, job.error
    sha256 = hashlib.sha256(SCENES.read_bytes()).hexdigest()
    (cached,) = (remote / "files" / sha256).iterdir()
    assert hashlib.sha256(cached.read_bytes()).hexdigest() == sha256
    assert not list((remote / "parts").iterdir())
    assert f"from_bytes={before_bytes}" in host.far.log.read_text()


def test_other_jobs_go_on_while_the_lora_of_a_job_is_copied(
    server: Server, host: Host, remote: Path, folder: Path
) -> None:
    server.configure(models='push_rate = "500kB"', bus=host.bus)
    server.start()
    lora = register(server, MODELS / "lora-striped-sd-kohya.safetensors", ModelType.LORA)
    engine_id = create_engine(server.line, server.records.model_named(PLAIN), start=True, pool=POOL)
    host.start(server, "--cache-folder", str(remote), "--map", f"{folder}={folder}")
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
    engine_id = create_engine(server.line, register(server, file), start=True, pool=POOL)
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"x")
    host.start(server)

    engine = server.records.wait_for_engine(engine_id, EngineState.ERROR)
    assert engine.error_code == "download_failed"
    assert engine.error is not None
    assert "spoon models retry" in engine.error
    assert not list((remote / "files").iterdir())
    assert not list((remote / "parts").iterdir())
