"""What does a full-size model cost until it is ready? `python -m bench.fetch [GIGABYTES]`

A checkpoint of random bytes (2 GB, if nothing else is said) is registered from the disk, downloaded from
a server on this machine, and uploaded; then an engine of it is admitted. Beside it: the same bytes read and
hashed by nothing else. Gate: the sha256 is right, what should be kept once is, and the engine has room. Peak
memory is the high-water mark of each process (VmHWM, proc(5)).
"""

import hashlib
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx

from api.cli.client.uploading import Form
from bench.idle import children
from bench.report import Goal, Spread, print_report
from bench.server import Running, server
from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.enums import ModelBase

CHUNK_BYTES: Final = 4 << 20
PATIENCE_S: Final = 900.0
GOALS: Final = {
    "manager_peak_mb": Goal(150.0),
    "api_peak_mb": Goal(150.0),
    "fetch_worker_peak_mb": Goal(150.0),
}
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print; the file and everything made of it is deleted."""
    size_bytes = int(float(sys.argv[1]) * 1e9) if len(sys.argv) > 1 else 2_000_000_000
    figures: Figures = {}
    with server() as running:
        file = running.folder / "random.safetensors"
        expected = write_random(file, size_bytes)
        figures["hash_floor_s"] = [timed(lambda: digest(file))]
        base = f"http://{running.host}:{running.port}"
        with served(running.folder) as site, httpx.Client(base_url=base, timeout=PATIENCE_S) as client:
            ways: dict[str, Callable[[], httpx.Response]] = {
                "register": lambda: register(client, file.as_uri()),
                "download": lambda: register(client, f"{site}/{file.name}"),
                "upload": lambda: upload(client, file),
            }
            for name, way in ways.items():
                figures[f"{name}_s"] = [timed(partial(await_ready, client, way, expected))]
                note_peaks(running, figures)
            figures["admit_s"] = [timed(partial(admit, client))]
        kept = list((running.folder / "models/files").iterdir())
        if [one.name for one in kept] != [f"{expected}.safetensors"]:
            raise SystemExit(f"gate failed: the same content should be kept once, not as {kept}")
    print_report("fetch", {name: Spread.of([max(values)]) for name, values in figures.items()}, GOALS)


def write_random(file: Path, size_bytes: int) -> str:
    """A checkpoint of about this size, of bytes that nothing can compress. Returns: its sha256."""
    small = file.with_name("small.safetensors")
    write_random_checkpoint(small, base=ModelBase.SD)
    stored = small.read_bytes()
    small.unlink()
    length = int.from_bytes(stored[:8], "little")
    header, weights = json.loads(stored[8 : 8 + length]), stored[8 + length :]
    end = len(weights) + size_bytes // 2 * 2
    header["rest"] = {"dtype": "F16", "shape": [size_bytes // 2], "data_offsets": [len(weights), end]}
    text = json.dumps(header).encode()
    found = hashlib.sha256()
    with file.open("wb") as stream:
        for piece in _pieces(struct.pack("<Q", len(text)) + text + weights, end - len(weights)):
            found.update(piece)
            stream.write(piece)
    return found.hexdigest()


def _pieces(head: bytes, size_bytes: int) -> Iterator[bytes]:
    yield head
    for start in range(0, size_bytes, CHUNK_BYTES):
        yield os.urandom(min(CHUNK_BYTES, size_bytes - start))


def digest(file: Path) -> str:
    with file.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def timed(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for the files of a folder, in threads of this process."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Nothing."""

    site = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{site.server_port}"
    finally:
        site.shutdown()
        site.server_close()


def register(client: httpx.Client, path: str) -> httpx.Response:
    return client.post("/v1/models", json={"name": "random", "path": path, "model_type": "checkpoint"})


def upload(client: httpx.Client, file: Path) -> httpx.Response:
    form = Form({"model_type": "checkpoint", "name": "sent"}, file, lambda done, total: None)
    return client.post("/v1/models/upload", content=form.pieces(), headers=form.headers)


def await_ready(client: httpx.Client, way: Callable[[], httpx.Response], expected: str) -> None:
    """Add the model and wait for it. Raises: SystemExit, if it is not ready with the right digest."""
    model = way().raise_for_status().json()
    until_s = time.monotonic() + PATIENCE_S
    while model["status"] == "downloading" and time.monotonic() < until_s:
        time.sleep(0.05)
        model = client.get(f"/v1/models/{model['model_id']}").json()
    if (model["status"], model["sha256"]) != ("ready", expected):
        raise SystemExit(f"gate failed: {model['status']} {model['error']} {model['sha256']}")


def admit(client: httpx.Client) -> None:
    """Have an engine of the model admitted by its need. Raises: SystemExit, if it is refused."""
    answer = client.post("/v1/engines", json={"checkpoint": "sent"})
    if answer.status_code != httpx.codes.CREATED:
        raise SystemExit(f"gate failed: the engine is not admitted: {answer.text}")


def note_peaks(running: Running, figures: Figures) -> None:
    """The high-water marks of the processes that live now, by what they run."""
    for pid in (running.manager.pid, *children(running.manager.pid)):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        name = "api" if "api.main" in words else "fetch_worker" if "engine_worker" in words else "manager"
        figures.setdefault(f"{name}_peak_mb", []).append(peak_mb(pid))


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
