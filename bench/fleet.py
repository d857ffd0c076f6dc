"""How many workers can one Manager lead? `python -m bench.fleet`

A thousand simulated workers of a pool, in two processes, over tcp, and 100,000 waiting jobs of 50 engines, in
a Manager as it ships, with its database and its images on the disk. Three phases: the workers are idle; jobs
take TAKES_S each, as on a GPU; jobs take no time, which shows the most that the Manager does beside the
workers on this machine. Gate: no job was given twice; every job that a worker has done is finished, with one
image; all others still wait.
"""

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import apsw

from bench.filling import SPEC
from bench.idle import cpu_seconds, memory_mb
from bench.manager import settings_in
from bench.report import Spread, percentile, print_report
from bench.server import CONFIG
from bench.stage import MODEL, Caller, add_model, process, wait_for_keys
from kernel.core.actions import SaveEngine
from kernel.protocol.enums import EngineState
from kernel.protocol.ids import EngineId
from kernel.protocol.rows import EngineRow
from kernel.protocol.specs import EngineSpec
from kernel.protocol.worker_tokens import CreateWorkerToken, WorkerTokenIssued
from kernel.shell import rowmap
from kernel.shell.store import Store

WORKERS: Final = 1_000
PROCESSES: Final = 2
ENGINES: Final = 50
WAITING: Final = 100_000
POOL: Final = "fleet"
SECONDS: Final = 20.0
TAKES_S: Final = 10.0
IMAGE_BYTES: Final = 500_000
"""As a PNG file of 512 x 512 pixels has."""
START_S: Final = 180.0

Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    figures: Figures = {}
    with manager() as (folder, pid), closing(Caller(folder / "bus")) as caller:
        token_file = folder / "token"
        token_file.write_text(token(caller))
        endpoint = (folder / "endpoint").read_text()
        with ExitStack() as stack:
            command = [sys.executable, "-m", "bench.fleet_workers", endpoint, str(token_file)]
            begin_s = time.monotonic()
            fleets = [
                stack.enter_context(piped([*command, str(WORKERS // PROCESSES), str(IMAGE_BYTES)]))
                for _ in range(PROCESSES)
            ]
            for fleet in fleets:
                answer_of(fleet)
            figures["all_joined_s"] = [time.monotonic() - begin_s]
            for phase, takes_s in (("idle", inf), ("paced", TAKES_S), ("most", 0.0)):
                measure(figures, phase, takes_s, fleets, pid)
            check(folder, [job_id for fleet in fleets for job_id in done_by(fleet)])
    print_report("fleet", {name: Spread.of(values) for name, values in figures.items()}, {})


def measure(
    figures: Figures, phase: str, takes_s: float, fleets: Sequence["subprocess.Popen[str]"], pid: int
) -> None:
    """Have all work for a while."""
    used_s, begin_s = cpu_seconds(pid), time.monotonic()
    for fleet in fleets:
        assert fleet.stdin is not None
        fleet.stdin.write(f"{SECONDS} {takes_s}\n")
        fleet.stdin.flush()
    told = [json.loads(answer_of(fleet)) for fleet in fleets]
    seconds = time.monotonic() - begin_s
    done: int = sum(one["done"] for one in told)
    figures[f"{phase}_manager_cores"] = [(cpu_seconds(pid) - used_s) / seconds]
    figures[f"{phase}_manager_mb"] = [memory_mb(pid)]
    trips_s = [trip for one in told for trip in one["round_trips_s"]]
    figures[f"{phase}_heartbeat_p99_ms"] = [1e3 * percentile(trips_s, 0.99)]
    if done:
        figures[f"{phase}_jobs_per_s"] = [done / seconds]
    if waited_s := [wait for one in told for wait in one["waited_s"]]:
        figures[f"{phase}_next_order_p50_ms"] = [1e3 * percentile(waited_s, 0.5)]
        figures[f"{phase}_next_order_p99_ms"] = [1e3 * percentile(waited_s, 0.99)]


def done_by(fleet: "subprocess.Popen[str]") -> Sequence[str]:
    """The jobs that the workers of a process have done, which ends."""
    assert fleet.stdin is not None
    fleet.stdin.close()
    job_ids: Sequence[str] = json.loads(answer_of(fleet))
    return job_ids


def check(folder: Path, done: Sequence[str]) -> None:
    """The gate. Raises: SystemExit."""
    time.sleep(2.0)  # the last reports
    with closing(apsw.Connection(str(settings_in(folder).database_file))) as connection:
        status_of = dict(connection.execute("SELECT job_id, status FROM job"))
        of_images = [job_id for (job_id,) in connection.execute("SELECT job_id FROM image")]
    finished = {job_id for job_id, status in status_of.items() if status == "finished"}
    if len(set(done)) != len(done) or set(done) != finished:
        raise SystemExit(f"gate failed: {len(done)} jobs were done, {len(finished)} are finished")
    if len(set(of_images)) != len(of_images) or not finished <= set(of_images):
        raise SystemExit(f"gate failed: {len(of_images)} images of {len(finished)} jobs")
    if len(status_of) != WAITING or set(status_of.values()) - {"finished", "waiting", "processing"}:
        raise SystemExit(f"gate failed: {Counter(status_of.values())}")


@contextmanager
def manager() -> Iterator[tuple[Path, int]]:
    """A Manager with a full queue, in its folder; the file `endpoint` tells where workers find it."""
    with TemporaryDirectory(prefix="spoon-") as name:
        folder = Path(name)
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        (folder / "endpoint").write_text(endpoint)
        (folder / "spoon.toml").write_text(CONFIG.replace("[bus]\n", f'[bus]\nendpoint = "{endpoint}"\n'))
        add_model(folder)
        fill(settings_in(folder).database_file)
        command = [sys.executable, "-m", "kernel.main", "--config", str(folder / "spoon.toml")]
        with (folder / "log").open("wb") as log, process(command, log.fileno()) as running:
            wait_for_keys(folder)
            yield folder, running.pid


def fill(database_file: Path) -> None:
    """Engines of the pool, each with its share of the waiting jobs."""
    store = Store(database_file)
    for number in range(ENGINES):
        spec = EngineSpec(name=f"e{number}", checkpoint=MODEL, pool=POOL, replicas=WORKERS // ENGINES)
        row = EngineRow(
            engine_id=EngineId(f"e{number}"),
            name=spec.name,
            spec=spec,
            status=EngineState.CLOSED,
            created_at_ms=1,
        )
        store.save(SaveEngine(row))
    store.commit()
    spec_text = rowmap.to_json(SPEC)
    with store.connection as connection:
        connection.executemany(
            "INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes,"
            " warnings, created_at_ms, checkpoint)"
            f" VALUES (?, ?, ?, 'waiting', 0, ?, ?, 0, 0, '[]', 1, '{MODEL}')",
            (
                (number, f"j{number}", f"e{number % ENGINES}", spec_text, rowmap.to_json([f"i{number}"]))
                for number in range(1, WAITING + 1)
            ),
        )
    store.close()


def token(caller: Caller) -> str:
    """An enrollment token of the pool."""
    reply = caller.ask(CreateWorkerToken(pool=POOL))
    if not isinstance(reply, WorkerTokenIssued) or reply.text is None:
        raise SystemExit(f"gate failed: no token: {reply}")
    return reply.text


@contextmanager
def piped(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that ends with its standard input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield running


def answer_of(fleet: "subprocess.Popen[str]") -> str:
    """The next line. Raises: SystemExit, if it has ended."""
    assert fleet.stdout is not None
    if not (line := fleet.stdout.readline()):
        raise SystemExit("gate failed: see above")
    return line


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
