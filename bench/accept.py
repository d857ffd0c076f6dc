"""How many jobs a second does the API accept, durably? `python -m bench.accept`

POST /v1/jobs from 64 clients at once, answered after the commit; the floor is Falcon on waitress doing
nothing. Every round starts all processes anew, in the order A B B A. Gate: every job that was answered with
202 waits in the queue, under an id of its own. The same with an API key in each request is measured beside
it. The processor time of each process for one job is beside the rates, because other programs on the machine
disturb it less.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import httpx

from bench.crowd import Visit, post_many
from bench.idle import children, cpu_seconds
from bench.report import Goal, Spread, percentile, print_report
from bench.server import KEY, THREADS, Running, add_key, server
from bench.stage import MODEL

ROUNDS: Final = 5
CLIENTS: Final = 64
REQUESTS: Final = 6_000
HOST: Final = "127.0.0.1"
GOALS: Final = {"share_of_floor": Goal(0.6, is_floor=True), "share_with_key": Goal(0.95, is_floor=True)}
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    figures: Figures = {}
    for number in range(ROUNDS):
        sides: list[Callable[[Figures], None]] = [ours, with_key, floor]
        for side in sides if number % 2 == 0 else reversed(sides):
            side(figures)
        share = figures["durable_submits_per_s"][-1] / figures["floor_noop_per_s"][-1]
        figures.setdefault("share_of_floor", []).append(share)
        share = figures["with_key_submits_per_s"][-1] / figures["durable_submits_per_s"][-1]
        figures.setdefault("share_with_key", []).append(share)
        print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    print_report("accept", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def ours(figures: Figures) -> None:
    """The server as it ships."""
    with server() as running:
        submit(figures, running, "durable", "")


def with_key(figures: Figures) -> None:
    """The same with a key in each request."""
    with server(filling=add_key) as running:
        submit(figures, running, "with_key", KEY)


def submit(figures: Figures, running: Running, name: str, key: str) -> None:
    """Submit jobs to a server."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=f"http://{running.host}:{running.port}", headers=headers) as http:
        body = {"checkpoint": MODEL, "name": "bench", "autostart": False, "start": False}
        engine_id = http.post("/v1/engines", json=body).raise_for_status().json()["engine_id"]
        job = json.dumps({"engine_id": engine_id, "prompt": "a large red circle", "seed": 1}).encode()
        processes = {"manager": running.manager.pid, "api": children(running.manager.pid)[0]}
        before_s = {process: cpu_seconds(pid) for process, pid in processes.items()}
        address = (running.host, running.port)
        visit = post_many(address, "/v1/jobs", job, requests=REQUESTS, clients=CLIENTS, api_key=key)
        for process, pid in processes.items():
            used = f"{process}_with_key" if key else process
            note_cpu(figures, used, cpu_seconds(pid) - before_s[process])
        check(visit, running, http, engine_id)
    figures.setdefault(f"{name}_submits_per_s", []).append(REQUESTS / visit.seconds)
    figures.setdefault(f"{name}_submit_p99_ms", []).append(1000 * percentile(visit.latencies_s, 0.99))


def note_cpu(figures: Figures, name: str, used_s: float) -> None:
    """Units: microseconds for one request, of all threads of a process."""
    figures.setdefault(f"{name}_cpu_us", []).append(1e6 * used_s / REQUESTS)


def check(visit: Visit, running: Running, http: httpx.Client, engine_id: str) -> None:
    """The correctness gate. Raises: SystemExit."""
    if visit.statuses != {202: REQUESTS}:
        raise SystemExit(f"gate failed: answers by status: {visit.statuses}")
    if len({json.loads(body)["job_id"] for body in visit.bodies}) != REQUESTS:
        raise SystemExit("gate failed: two jobs have the same id")
    queue = http.get(f"/v1/engines/{engine_id}").json()["queue"]
    if queue["waiting"] != REQUESTS:
        raise SystemExit(f"gate failed: {REQUESTS} jobs were accepted, the queue is {queue}")


def floor(figures: Figures) -> None:
    """The same web server with nothing behind it."""
    command = [sys.executable, "-m", "bench.noop_api", str(THREADS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline()) if process.stdout else 0
            body = json.dumps({"engine_id": "0" * 36, "prompt": "a large red circle", "seed": 1}).encode()
            before_s = cpu_seconds(process.pid)
            visit = post_many((HOST, port), "/v1/jobs", body, requests=REQUESTS, clients=CLIENTS)
            note_cpu(figures, "floor", cpu_seconds(process.pid) - before_s)
        finally:
            process.kill()
    figures.setdefault("floor_noop_per_s", []).append(REQUESTS / visit.seconds)


if __name__ == "__main__":
    main()
