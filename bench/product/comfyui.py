"""ComfyUI on the CPU, by the API of its own page: a graph is queued, and its history asked for.

BENCH_COMFYUI names its folder, BENCH_COMFYUI_PYTHON the Python that has what it needs (left out, this one).
Source: server.py and script_examples of its repository.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench.product.checkpoint import Checkpoint
from bench.product.job import CFG, Job
from bench.product.servers import HOST, JobLost, await_picture, begin, connect, free_port

_SAVED: Final = "saved"
"""The node whose picture is fetched."""


def installation(environ: Mapping[str, str]) -> tuple[Path, str] | None:
    """Its folder and its Python, if it is there."""
    folder = environ.get("BENCH_COMFYUI")
    if not folder or not (Path(folder) / "main.py").exists():
        return None
    return Path(folder), environ.get("BENCH_COMFYUI_PYTHON") or sys.executable


class ComfyUi:
    """All that it writes goes into a folder of the benchmark."""

    name = "comfyui"

    def __init__(self, checkpoint: Checkpoint, sources: Path, python: str) -> None:
        self._checkpoint = checkpoint
        self._sources = sources
        self._python = python

    def prepare(self, folder: Path) -> None:
        """It takes checkpoints from a folder of its own, and wants one for other people's nodes."""
        (_base(folder) / "custom_nodes").mkdir(parents=True, exist_ok=True)
        link = _base(folder) / "models" / "checkpoints" / self._checkpoint.file.name
        if not link.exists():
            link.parent.mkdir(parents=True)
            link.symlink_to(self._checkpoint.file.resolve())

    def start(self, folder: Path) -> "ComfyUiServer":
        port, log = free_port(), folder / "comfyui.log"
        places = ["--base-directory", str(_base(folder)), "--database-url", "sqlite:///:memory:"]
        command = [self._python, str(self._sources / "main.py"), "--cpu", *places]
        process = begin([*command, "--listen", HOST, "--port", str(port)], log, os.environ)
        http = connect(process, f"http://{HOST}:{port}", "/system_stats", log)
        return ComfyUiServer(process, http, self._checkpoint.file.name)


@dataclass(frozen=True, slots=True)
class ComfyUiServer:
    """It runs; its queue and its history are in its memory."""

    process: "subprocess.Popen[bytes]"
    http: httpx.Client
    checkpoint: str
    worker_word: str = ""

    def make(self, job: Job) -> bytes:
        return await_picture(self, self.submit(job))

    def submit(self, job: Job) -> str:
        graph = {"prompt": graph_of(job, self.checkpoint)}
        return str(self.http.post("/prompt", json=graph).raise_for_status().json()["prompt_id"])

    def picture(self, job_id: str) -> bytes | None:
        found = self.http.get(f"/history/{job_id}").raise_for_status().json().get(job_id)
        if found is None:
            self._check_queue(job_id)
            return None
        if found["status"]["status_str"] != "success":
            raise JobLost(str(found["status"]))
        (file,) = found["outputs"][_SAVED]["images"]
        return self.http.get("/view", params=file).raise_for_status().content

    def hang_up(self) -> None:
        self.http.close()

    def _check_queue(self, job_id: str) -> None:
        """Raises: JobLost, if it neither waits nor runs, and has not ended meanwhile."""
        queue = self.http.get("/queue").raise_for_status().json()
        is_open = any(entry[1] == job_id for entries in queue.values() for entry in entries)
        if not is_open and job_id not in self.http.get(f"/history/{job_id}").json():
            raise JobLost(f"{job_id} is neither in the queue nor in the history")


def _base(folder: Path) -> Path:
    return folder / "comfyui"


def graph_of(job: Job, checkpoint: str) -> dict[str, object]:
    """Its nodes and what leads from each to the next, as its own page makes them for text to image."""
    sampled = {
        "seed": job.seed,
        "steps": job.steps,
        "cfg": CFG,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["loaded", 0],
        "positive": ["words", 0],
        "negative": ["nothing", 0],
        "latent_image": ["empty", 0],
    }
    return {
        "loaded": _node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "words": _node("CLIPTextEncode", text=job.prompt, clip=["loaded", 1]),
        "nothing": _node("CLIPTextEncode", text="", clip=["loaded", 1]),
        "empty": _node("EmptyLatentImage", width=job.size_px, height=job.size_px, batch_size=1),
        "sampled": _node("KSampler", **sampled),
        "decoded": _node("VAEDecode", samples=["sampled", 0], vae=["loaded", 2]),
        _SAVED: _node("SaveImage", images=["decoded", 0], filename_prefix="bench"),
    }


def _node(kind: str, **inputs: object) -> dict[str, object]:
    return {"class_type": kind, "inputs": inputs}
