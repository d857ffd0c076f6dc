"""How much longer does a job take than its engine works on it? `python -m bench.overhead`

Jobs one after the other through REST, the bus, a worker and the disk, to a fake engine that is busy for as
long as their prompts say: `finished_ms` from POST /v1/jobs?wait= to the answer that says it is finished,
`downloaded_ms` until its picture has come, too; both less the time that the engine is busy. That is measured
beside it, by sleeping as the fake engine sleeps, since a sleep lasts longer than it should. Of the jobs of a
round the median counts; the quickest one tells how much of that is the machine's neighbours. The client is
the standard library's: httpx takes a millisecond more of its own. Gates: each job has finished, and its
picture is the file whose sha256 the server tells.
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from statistics import median
from typing import Final

import httpx

from bench.report import Goal, Spread, print_report
from bench.server import server
from bench.stage import MODEL

ROUNDS: Final = 3
JOBS: Final = 40
STEPS: Final = 5
STEP_MS: Final = 20
WAIT_S: Final = 60.0
GOALS: Final = {"finished_ms": Goal(15.0)}


@dataclass
class Round:
    """Milliseconds of each job."""

    finished_ms: list[float] = field(default_factory=list)
    downloaded_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    figures: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for name, value in figures_of(one_round()).items():
            figures.setdefault(name, []).append(value)
        print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    print_report("overhead", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def figures_of(done: Round) -> dict[str, float]:
    """What the jobs of a round took beyond the engine's time, and that time."""
    busy_ms = median(done.busy_ms)
    return {
        "finished_ms": median(done.finished_ms) - busy_ms,
        "finished_quickest_ms": min(done.finished_ms) - min(done.busy_ms),
        "downloaded_ms": median(done.downloaded_ms) - busy_ms,
        "busy_ms": busy_ms,
    }


def one_round() -> Round:
    """A fresh server, and all jobs, each with the sleeps of its engine once more beside it."""
    done = Round()
    with server() as running, httpx.Client(base_url=f"http://{running.host}:{running.port}") as http:
        body = {"checkpoint": MODEL, "name": "bench", "width": 64, "height": 64, "steps": STEPS}
        engine_id = http.post("/v1/engines", json=body).raise_for_status().json()["engine_id"]
        await_ready(http, engine_id)
        quick = HTTPConnection(running.host, running.port, timeout=WAIT_S)
        for seed in range(JOBS + 1):
            job = {"engine_id": engine_id, "prompt": f"[slow {STEP_MS}ms]", "seed": seed}
            measure(quick, json.dumps(job).encode(), done)
            done.busy_ms.append(busy_ms())
        quick.close()
    for of_each in (done.finished_ms, done.downloaded_ms, done.busy_ms):
        del of_each[0]  # the first one warms up
    return done


def await_ready(http: httpx.Client, engine_id: str) -> None:
    """Raises: SystemExit, if the engine does not become ready."""
    end_s = time.monotonic() + WAIT_S
    while (status := http.get(f"/v1/engines/{engine_id}").json()["status"]) != "ready":
        if time.monotonic() > end_s:
            raise SystemExit(f"gate failed: the engine is {status}")
        time.sleep(0.05)


def measure(http: HTTPConnection, job: bytes, done: Round) -> None:
    """One job, from its request to its picture. Raises: SystemExit, if it is not what it should be."""
    begin_s = time.perf_counter()
    http.request("POST", f"/v1/jobs?wait={WAIT_S}", job, {"Content-Type": "application/json"})
    answer = http.getresponse()
    text = answer.read()
    done.finished_ms.append(1000 * (time.perf_counter() - begin_s))
    ended = json.loads(text)
    if answer.status != 200 or ended["status"] != "finished":
        raise SystemExit(f"gate failed: {text!r}")
    path = f"/v1/images/{ended['image_id']}"
    picture = get(http, f"{path}/download")
    done.downloaded_ms.append(1000 * (time.perf_counter() - begin_s))
    if hashlib.sha256(picture).hexdigest() != json.loads(get(http, path))["sha256"]:
        raise SystemExit("gate failed: the picture is not the one that was stored")


def get(http: HTTPConnection, path: str) -> bytes:
    """Raises: SystemExit, if it is not there."""
    http.request("GET", path)
    answer = http.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"gate failed: {path}: {body!r}")
    return body


def busy_ms() -> float:
    """How long the engine is busy with a job: the fake one sleeps through each step."""
    begin_s = time.perf_counter()
    for _ in range(STEPS):
        time.sleep(STEP_MS / 1000)
    return 1000 * (time.perf_counter() - begin_s)


if __name__ == "__main__":
    main()
