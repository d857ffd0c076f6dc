"""The protocol paper is enough to write a worker from: one that imports nothing of ours serves a Manager."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.stage import Caller, create_engine, manager
from kernel.protocol import client
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import EngineId, JobId, WorkerId
from kernel.protocol.join import Join, write_join
from kernel.protocol.specs import JobRequest
from tests.architecture.source_files import ROOT

OPEN: Final = ("waiting", "processing")
SCRIPT: Final = ROOT / "docs/tiny_worker.py"


def test_the_tiny_worker_imports_nothing_of_this_project() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in imported | froms}
    assert packages & {path.name for path in ROOT.iterdir() if path.is_dir()} == set()


def test_the_tiny_worker_makes_the_pictures_of_a_job_and_leaves_when_told_to(tmp_path: Path) -> None:
    with manager() as caller:
        engine_id = create_engine(caller)
        caller.send(client.Watch())
        with tiny_worker(caller, engine_id, tmp_path / "ticket") as process:
            job_id = submit(caller, engine_id)
            state = end_of(caller, job_id)
            caller.send(caller.command(client.StopEngine(engine_id=engine_id)))
            assert process.wait(timeout=10) == 0
    assert state == "finished"


@contextmanager
def tiny_worker(caller: Caller, engine_id: EngineId, ticket: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The script, invited to an engine; ended with the block."""
    invited = caller.ask(client.InviteWorker(engine_id=engine_id))
    assert isinstance(invited, client.WorkerInvited)
    ticket.write_bytes(write_join(join_of(invited)))
    with subprocess.Popen([sys.executable, "-P", str(SCRIPT), str(ticket)], cwd=ticket.parent) as process:
        try:
            yield process
        finally:
            process.kill()


def join_of(invited: client.WorkerInvited) -> Join:
    return Join(
        role=WorkerRole.ENGINE,
        worker_id=WorkerId(invited.worker_id),
        endpoint=invited.endpoint,
        server_public_key=invited.server_public_key,
        public_key=invited.public_key,
        secret_key=invited.secret_key,
        token=invited.token,
    )


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
