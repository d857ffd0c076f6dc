"""A server with a pool whose workers it launches itself, on this machine."""

import sys
from pathlib import Path
from typing import Final

from kernel.protocol.client import CreateEngine, EngineAccepted
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.specs import EngineSpec
from kernel.protocol.worker_tokens import CreateWorkerToken, WorkerTokenIssued
from tests.acceptance.line import Line
from tests.acceptance.server import Server, free_port

POOL: Final = "lab"
SUPERVISOR: Final = "engine_worker.supervisor"


def worker_command(*, is_fake: bool = True) -> list[str]:
    """The command of a launched worker, with placeholders."""
    where = ["--token-file", "{token_file}", "--manager", "{manager}", "--launch", "{name}"]
    fake = ["--fake-engines"] if is_fake else ["--file-root", "/"]
    return [sys.executable, "-m", SUPERVISOR, *where, *fake]


def add_pool(server: Server, **keys: object) -> None:
    """Give a configured server the pool, with keys in TOML's notation, and an address for its workers."""
    server.variables["SPOON_BUS_ENDPOINT"] = f"tcp://127.0.0.1:{free_port()}"
    given = {"token_file": f'"{token_file(server)}"'} | keys
    lines = "".join(f"{key} = {value}\n" for key, value in given.items())
    server.config_file.write_text(f"{server.config_file.read_text()}\n[pools.{POOL}]\n{lines}")


def token_file(server: Server) -> Path:
    """The file of the pool's token, which in real life is on the workers' hosts."""
    return server.folder / "lab.token"


def create_token(server: Server) -> None:
    """Create the pool's token, and put it into the file."""
    issued = server.line.ask(CreateWorkerToken(pool=POOL), WorkerTokenIssued)
    assert issued.text is not None
    token_file(server).touch(0o600)
    token_file(server).write_text(issued.text)


def engine_in_pool(line: Line, checkpoint: ModelId, **values: object) -> EngineId:
    """An engine of the pool, which jobs start on demand."""
    small = {"steps": 2, "width_px": 64, "height_px": 64}
    spec = EngineSpec(checkpoint=checkpoint, pool=POOL, **small | values)
    return line.ask(CreateEngine(spec=spec), EngineAccepted).engine_id


def in_toml(command: list[str]) -> str:
    """A list of strings without quotes or backslashes."""
    return "[" + ", ".join(f'"{one}"' for one in command) + "]"
