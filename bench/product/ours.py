"""This server, by `spoon serve`, with workers as its Manager starts them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from api.cli.client.client_models import Progress
from api.cli.client.events import read_events
from api.cli.client.rest import read
from bench.product.checkpoint import Checkpoint
from bench.product.job import CFG, Job
from bench.product.servers import HOST, JobLost, await_picture, begin, connect, end, free_port
from bench.product.shares import StepDone

ENGINE: Final = "bench"
WAIT_S: Final = 300
"""As long as the server lets one wait."""
CONFIG: Final = """
[database]
folder = "database"
[images]
folder = "images"
[blobs]
folder = "blobs"
[models]
folder = "models"
file_roots = ["{models}"]
"""
FOLDER_NAME: Final = "ours"


class Ours:
    """Its model is registered, and its engine created, when it is started in a folder for the first time."""

    name = "ours"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def prepare(self, folder: Path) -> None:
        """A model and an engine. Raises: SystemExit, if that does not work."""
        place = folder / FOLDER_NAME
        if (place / "ready").exists():
            return
        place.mkdir(exist_ok=True)
        roots = self._checkpoint.folder.resolve()
        (place / "spoon.toml").write_text(CONFIG.format(models=roots), encoding="utf-8")
        server = self.start(folder)
        file = self._checkpoint.file.resolve()
        model = {"name": "sd15", "path": file.as_uri(), "model_type": "checkpoint"}
        server.post(f"/v1/models?wait={WAIT_S}", model)
        server.post("/v1/engines", {"checkpoint": "sd15", "name": ENGINE, "start": False})
        end(server)
        (place / "ready").touch()

    def start(self, folder: Path) -> "OurServer":
        place, port = folder / FOLDER_NAME, free_port()
        command = [sys.executable, "-m", "api.cli.main", "--config", str(place / "spoon.toml"), "serve"]
        log = place / "log"
        process = begin(command, log, _environ(port))
        return OurServer(process, connect(process, f"http://{HOST}:{port}", "/v1/health/live", log))


@dataclass(frozen=True, slots=True)
class OurServer:
    """It runs, and is talked to as its documentation says."""

    process: "subprocess.Popen[bytes]"
    http: httpx.Client
    worker_word: str = "engine_worker.main"

    def make(self, job: Job) -> bytes:
        return self._download(self.post(f"/v1/jobs?wait={WAIT_S}", _body(job)))

    def make_telling(self, job: Job, step_done: StepDone) -> bytes:
        """By the stream of the job's events, which ends when the job does."""
        job_id = self.submit(job)
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            for event in read_events(answer.raise_for_status().iter_lines()):
                if event.kind == "progress":
                    step_done(read(event.data.encode(), Progress).step)
        return await_picture(self, job_id)

    def submit(self, job: Job) -> str:
        return str(self.post("/v1/jobs", _body(job))["job_id"])

    def picture(self, job_id: str) -> bytes | None:
        answer = self.http.get(f"/v1/jobs/{job_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise JobLost(answer.text)
        found = answer.raise_for_status().json()
        if found["status"] in ("waiting", "processing"):
            return None
        return self._download(found)

    def hang_up(self) -> None:
        self.http.close()

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        """Raises: SystemExit, if it is refused."""
        answer = self.http.post(path, json=body)
        if not answer.is_success:
            raise SystemExit(f"gate failed: {path}: {answer.text}")
        found: dict[str, object] = answer.json()
        return found

    def _download(self, job: dict[str, object]) -> bytes:
        if job["status"] != "finished":
            raise JobLost(str(job))
        return self.http.get(f"/v1/images/{job['image_id']}/download").raise_for_status().content


def _body(job: Job) -> dict[str, object]:
    return {
        "engine": ENGINE,
        "prompt": job.prompt,
        "seed": job.seed,
        "steps": job.steps,
        "cfg": CFG,
        "width": job.size_px,
        "height": job.size_px,
        "scheduler": "euler",
    }


def _environ(port: int) -> dict[str, str]:
    """The user's own, less what would point at another server."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPOON_")}
    return {**own, "SPOON_SERVER_PORT": str(port)}
