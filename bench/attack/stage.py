"""The server that is attacked: real processes, fake engines, one engine and one job that was drawn."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench.server import server
from bench.stage import MODEL

PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Victim:
    """A running server."""

    host: str
    port: int
    folder: Path
    manager_pid: int
    api_pid: int
    engine_id: str

    def check_job(self) -> None:
        """A job is taken, and drawn. Raises: SystemExit."""
        job = {"engine_id": self.engine_id, "prompt": "a fox", "steps": 2, "priority": 1_000}
        answer = httpx.post(
            f"http://{self.host}:{self.port}/v1/jobs?wait=60", json=job, timeout=PATIENCE_S + 30
        )
        if answer.status_code != 200 or answer.json()["status"] != "finished":
            raise SystemExit(f"gate failed: a job was not drawn: {answer.status_code} {answer.text}")

    def log_bytes(self) -> int:
        return (self.folder / "log").stat().st_size


@contextmanager
def victim(most_open_files: int | None) -> Iterator[Victim]:
    """A fresh server; `most_open_files` is the hard limit that its processes have."""
    limited = (
        () if most_open_files is None else ("sh", "-c", f'ulimit -n {most_open_files} && exec "$@"', "sh")
    )
    with server(limited) as running:
        url = f"http://{running.host}:{running.port}"
        body = {"checkpoint": MODEL, "name": "bench", "autostart": True}
        answer = httpx.post(f"{url}/v1/engines", json=body, timeout=PATIENCE_S).raise_for_status()
        yield Victim(
            host=running.host,
            port=running.port,
            folder=running.folder,
            manager_pid=running.manager.pid,
            api_pid=_api_of(running.manager.pid),
            engine_id=json.loads(answer.text)["engine_id"],
        )


def _api_of(manager_pid: int) -> int:
    """The API's process: the Manager's child that runs api.main."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        children = Path(f"/proc/{manager_pid}/task/{manager_pid}/children").read_text().split()
        for child in children:
            if b"api.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.05)
    raise SystemExit("gate failed: there is no API process")
