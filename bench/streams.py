"""Do hundreds of open streams and waiting requests slow others down? `python -m bench.streams`

A real server with a fake engine, on default settings. A client reads the list of jobs every 20 ms: alone,
while jobs are drawn, and while in addition 200 event streams follow them (half of them everything, half
single jobs), 200 requests wait for their ends, and 20 clients download slowly. The floor is the same crowd at
a neighbor, a second server on the same machine: what is slower there is slow because the processors are busy,
not because of the server that is asked. Gate: each stream has got every event once and in order, every
waiting request the end of its job, and no download was cut off.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.attack.stage import Victim, victim
from bench.report import Goal, Spread, percentile, print_report

ROUNDS: Final = 3
SECONDS: Final = 20.0
PAUSE_S: Final = 0.02
PATH: Final = "/v1/jobs?limit=20"
FILE_BYTES: Final = 64 << 20
"""Far more than a slow client takes in the time."""
ELSEWHERE: Final = ("nice", "-n", "19")
"""The crowd's own work is that of other machines, and here it has what the server leaves."""
GOALS: Final = {"p99_by_alone": Goal(2.0)}
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    figures: Figures = {}
    for number in range(ROUNDS):
        measure(figures)
        print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    print_report("streams", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def measure(figures: Figures) -> None:
    """One round, on a server of its own."""
    with victim(None) as target, victim(None) as neighbor:
        target.check_job()
        neighbor.check_job()
        image_ids = {one: swell_image(one) for one in (target, neighbor)}
        read_list(target, SECONDS / 4)  # the server has done this before
        found = watch(target, "alone")
        for name, kind, visited in (
            ("jobs", "jobs", target),
            ("neighbor", "crowd", neighbor),
            ("crowd", "crowd", target),
        ):
            command = [*ELSEWHERE, sys.executable, "-m", "bench.streams_crowd", kind, visited.host]
            with subprocess.Popen(
                [*command, str(visited.port), visited.engine_id, image_ids[visited]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as crowd:
                assert crowd.stdin is not None
                assert crowd.stdout is not None
                crowd.stdout.readline()  # everybody is there
                found |= watch(target, name)
                crowd.stdin.close()
                told = crowd.stdout.read()
                crowd.wait()
            if crowd.returncode != 0:
                raise SystemExit("gate failed: see above")
            found |= {f"{name}_{figure}": value for figure, value in json.loads(told).items()}
        target.check_job()
    found["p99_by_alone"] = found["crowd_p99_ms"] / found["alone_p99_ms"]
    found["p99_by_neighbor"] = found["crowd_p99_ms"] / found["neighbor_p99_ms"]
    for figure, value in found.items():
        figures.setdefault(figure, []).append(value)


def swell_image(target: Victim) -> str:
    """Make the file of the image that is there large. Returns: its id."""
    with closing(http.client.HTTPConnection(target.host, target.port, timeout=30)) as connection:
        connection.request("GET", "/v1/images?limit=1")
        (image,) = json.loads(connection.getresponse().read())["items"]
    image_id: str = image["image_id"]
    (file,) = (target.folder / "images").glob(f"**/*{image_id}*")
    with file.open("r+b") as opened:
        opened.truncate(FILE_BYTES)
    return image_id


def read_list(target: Victim, seconds: float) -> list[float]:
    """How long each answer took, in seconds. Raises: SystemExit, if one is wrong."""
    found: list[float] = []
    until = time.monotonic() + seconds
    with closing(http.client.HTTPConnection(target.host, target.port, timeout=60)) as connection:
        while time.monotonic() < until:
            began_s = time.perf_counter()
            connection.request("GET", PATH)
            answer = connection.getresponse()
            body = answer.read()
            found.append(time.perf_counter() - began_s)
            if answer.status != 200 or not json.loads(body)["items"]:
                raise SystemExit(f"gate failed: {answer.status} {body[:200]!r}")
            time.sleep(PAUSE_S)
    return found


def processor_s(pid: int) -> float:
    """Processor time of a process so far. Source: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watch(target: Victim, name: str) -> dict[str, float]:
    """The figures of one phase, and what the API's process has at its end."""
    used_s = processor_s(target.api_pid)
    seconds = read_list(target, SECONDS)
    used_s = processor_s(target.api_pid) - used_s
    lines = Path(f"/proc/{target.api_pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {
        f"{name}_p50_ms": percentile(seconds, 0.5) * 1e3,
        f"{name}_p99_ms": percentile(seconds, 0.99) * 1e3,
        f"{name}_max_ms": max(seconds) * 1e3,
        f"{name}_api_cores": used_s / SECONDS,
        f"{name}_threads": float(values["Threads"]),
        f"{name}_resident_mb": int(values["VmRSS"].split()[0]) * 1024 / 1e6,
    }


if __name__ == "__main__":
    main()
