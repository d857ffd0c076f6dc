"""The protocol paper is enough to write a worker from: one that imports nothing of ours serves a Manager."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.stage import Caller, create_engine, manager, token_of
from kernel.protocol import client
from kernel.protocol.endpoints import back_endpoint
from kernel.protocol.ids import EngineId, JobId
from kernel.protocol.specs import JobRequest
from tests.architecture.source_files import ROOT

OPEN: Final = ("waiting", "processing")
POOL: Final = "bench"
SCRIPT: Final = ROOT / "docs/tiny_worker.py"


def test_the_tiny_worker_imports_nothing_of_this_project() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in imported | froms}
    assert packages & {path.name for path in ROOT.iterdir() if path.is_dir()} == set()


def test_the_tiny_worker_makes_the_pictures_of_a_job_and_leaves_when_told_to(tmp_path: Path) -> None:
    with manager() as caller:
        engine_id = create_engine(caller, POOL)
        caller.send(client.Watch())
        with tiny_worker(caller, tmp_path / "token") as process:
            job_id = submit(caller, engine_id)
            state = end_of(caller, job_id)
            caller.send(caller.command(client.StopEngine(engine_id=engine_id)))
            assert process.wait(timeout=10) == 0
    assert state == "finished"


@contextmanager
def tiny_worker(caller: Caller, token: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The script, with a token of a pool; ended with the block."""
    token_of(caller, POOL, token)
    command = [sys.executable, "-P", str(SCRIPT), str(token), back_endpoint(caller.bus_folder)]
    with subprocess.Popen(command, cwd=token.parent) as process:
        try:
            yield process
        finally:
            process.kill()


def submit(caller: Caller, engine_id: EngineId) -> JobId:
    request = JobRequest(prompt="a plain wall", count=2, steps=2, seed=0, width_px=64, height_px=64)
    reply = caller.ask(client.SubmitJob(engine_id=engine_id, request=request))
    assert isinstance(reply, client.JobAccepted)
    return reply.job_id


def end_of(caller: Caller, job_id: JobId) -> str:
    """The state that a job ends in, as the Manager tells those who watch."""
    while True:
        message = caller.receive().body
        if isinstance(message, client.Changed) and message.id == job_id and message.state not in OPEN:
            return message.state
