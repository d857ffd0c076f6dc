"""stable-diffusion.cpp's server, by its own job API. Source: examples/server/api.md of its sources.

The extra `peers` builds it, when CMake is told to: `CMAKE_ARGS="-DSD_BUILD_EXAMPLES=ON
-DSD_SERVER_BUILD_FRONTEND=OFF" pip install '.[peers]'`. BENCH_SD_SERVER names one that lies elsewhere.
"""

import os
import subprocess
import sysconfig
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.product.checkpoint import Checkpoint
from bench.product.job import CFG, Job
from bench.product.servers import HOST, JobLost, await_picture, begin, connect, free_port

THREADS = len(os.sched_getaffinity(0))
"""One for each core, as torch has them by default."""


def program(environ: Mapping[str, str]) -> Path | None:
    """Where the server lies, if it is there."""
    chosen = environ.get("BENCH_SD_SERVER")
    found = Path(chosen) if chosen else Path(sysconfig.get_path("platlib")) / "bin" / "sd-server"
    return found if found.exists() else None


class SdCpp:
    """It loads the file before it listens."""

    name = "sd_cpp"

    def __init__(self, checkpoint: Checkpoint, executable: Path) -> None:
        self._checkpoint = checkpoint
        self._executable = executable

    def prepare(self, folder: Path) -> None:
        """Nothing."""

    def start(self, folder: Path) -> "SdCppServer":
        port, log = free_port(), folder / "sd_cpp.log"
        command = [str(self._executable), "--model", str(self._checkpoint.file), "--threads", str(THREADS)]
        address = ["--listen-ip", HOST, "--listen-port", str(port)]
        process = begin([*command, *address], log, self._environ())
        return SdCppServer(process, connect(process, f"http://{HOST}:{port}", "/", log))

    def _environ(self) -> dict[str, str]:
        """The package puts the libraries into another folder than the program."""
        libraries = self._executable.parents[1] / "stable_diffusion_cpp" / "lib"
        paths = [str(libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}


@dataclass(frozen=True, slots=True)
class SdCppServer:
    """It runs; its jobs and their pictures are in its memory."""

    process: "subprocess.Popen[bytes]"
    http: httpx.Client
    worker_word: str = ""

    def make(self, job: Job) -> bytes:
        return await_picture(self, self.submit(job))

    def submit(self, job: Job) -> str:
        return str(self.http.post("/sdcpp/v1/img_gen", json=body(job)).raise_for_status().json()["id"])

    def picture(self, job_id: str) -> bytes | None:
        answer = self.http.get(f"/sdcpp/v1/jobs/{job_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise JobLost(answer.text)
        found = answer.raise_for_status().json()
        if found["status"] in ("queued", "generating"):
            return None
        if found["status"] != "completed":
            raise JobLost(answer.text)
        return b64decode(found["result"]["images"][0]["b64_json"])

    def hang_up(self) -> None:
        self.http.close()


def body(job: Job) -> dict[str, object]:
    return {
        "prompt": job.prompt,
        "negative_prompt": "",
        "width": job.size_px,
        "height": job.size_px,
        "seed": job.seed,
        "sample_params": {
            "sample_method": "euler",
            "sample_steps": job.steps,
            "guidance": {"txt_cfg": CFG},
        },
        "output_format": "png",
    }
