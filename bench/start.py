"""How long does the Manager take from its start to its first answer? `python -m bench.start`

Once with 100,000 jobs that ended, each with its image in the database and in the folder; once with 100,000
jobs that wait. A start of an empty Manager, measured in the same run, is the floor. Gates: the Manager counts
the jobs that wait as they are, and a start removes no picture.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec.structs import replace

from bench.report import Goal, Spread, print_report
from bench.server import CONFIG
from bench.stage import MODEL, WAIT_S, Caller, add_model, process
from kernel.core.actions import AddImage, AddJob, RecordChange, Save, SaveEngine, SaveJob
from kernel.protocol import client
from kernel.protocol.endpoints import ClientRole, secret_key_file, server_key_file
from kernel.protocol.enums import ChangeKind, EngineState, JobState, Scheduler
from kernel.protocol.ids import EngineId, EventSeq, ImageId, JobId
from kernel.protocol.rows import ChangeRow, EngineRow, ImageRow, JobRow
from kernel.protocol.specs import EngineSpec, JobSpec
from kernel.protocol.status import Status
from kernel.protocol.uuid7 import Uuid7
from kernel.shell.files import INSTALLATION_FILE
from kernel.shell.store import Store

MANY: Final = 100_000
ROUNDS: Final = 5
ENGINE: Final = EngineId("engine")
PICTURE: Final = b"a picture"
SPEC: Final = JobSpec(
    prompt="a fox in the snow, " * 5,
    negative_prompt="blurry",
    seed=1,
    count=1,
    steps=25,
    guidance_scale=7.0,
    width_px=512,
    height_px=512,
    scheduler=Scheduler.DPMPP_2M_KARRAS,
)
GOALS: Final = {"ended_100000_s": Goal(3.0), "waiting_100000_s": Goal(3.0)}


def main() -> None:
    """Fill the folders, measure, print."""
    figures: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="spoon-") as name:
        cases = {
            "empty_s": prepare(Path(name) / "e", ended=0, waiting=0),
            "ended_100000_s": prepare(Path(name) / "d", ended=MANY, waiting=0),
            "waiting_100000_s": prepare(Path(name) / "w", ended=0, waiting=MANY),
        }
        for number in range(ROUNDS):
            order = list(cases.items())
            for figure, (folder, waiting) in order if number % 2 == 0 else reversed(order):
                figures.setdefault(figure, []).append(first_answer_s(folder, waiting))
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
        check_pictures(cases["ended_100000_s"][0])
    print_report("start", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def prepare(folder: Path, *, ended: int, waiting: int) -> tuple[Path, int]:
    """An installation with so many jobs. Returns: its folder, and how many wait."""
    folder.mkdir()
    (folder / "spoon.toml").write_text(CONFIG)
    (folder / "images").mkdir()
    add_model(folder)
    store = Store(folder / "database" / "spoon.sqlite3")
    for save in saves(folder / "images", ended, waiting):
        store.save(save)
    store.commit()
    store.close()
    return folder, waiting


def saves(images: Path, ended: int, waiting: int) -> Iterator[Save]:
    """An engine that starts only when told to, and its jobs; the ended ones with their files."""
    spec = EngineSpec(checkpoint=MODEL, autostart=False)
    yield SaveEngine(EngineRow(ENGINE, None, spec, EngineState.CLOSED, created_at_ms=0))
    ids = Uuid7()
    for seq in range(1, ended + waiting + 1):
        job = a_job(seq, JobId(ids.text()), ImageId(ids.text()))
        yield AddJob(job, SPEC)
        yield RecordChange(ChangeRow(EventSeq(seq), ChangeKind.JOB, job.job_id, job.status, at_ms=seq))
        if seq <= ended:
            yield from made(images, job)


def a_job(seq: int, job_id: JobId, image_id: ImageId) -> JobRow:
    return JobRow(
        job_id=job_id,
        seq=seq,
        engine_id=ENGINE,
        status=JobState.WAITING,
        priority=0,
        seed=SPEC.seed,
        image_ids=(image_id,),
        attempts=0,
        crashes=0,
        created_at_ms=seq,
    )


def made(images: Path, job: JobRow) -> Iterable[Save]:
    """The job is finished, and its picture is there."""
    image = ImageRow(
        image_id=job.image_ids[0],
        job_id=job.job_id,
        engine_id=ENGINE,
        position=0,
        file_name=f"{job.image_ids[0]}.png",
        mime="image/png",
        width_px=SPEC.width_px,
        height_px=SPEC.height_px,
        size_bytes=len(PICTURE),
        sha256="00" * 32,
        seed=SPEC.seed,
        downloads=0,
        download_limit=None,
        created_at_ms=job.seq,
        expires_at_ms=None,
    )
    (images / image.file_name).write_bytes(PICTURE)
    finished = replace(job, status=JobState.FINISHED, attempts=1, finished_at_ms=job.seq)
    return SaveJob(finished), AddImage(image)


def first_answer_s(folder: Path, waiting: int) -> float:
    """Start a Manager, ask how it is, end it. Returns: the seconds from its start to the answer."""
    start_s = time.monotonic()
    with manager(folder) as running, caller(folder, running) as asking:
        asking.send(client.GetStatus())
        status = asking.receive().body
        took_s = time.monotonic() - start_s
    if not isinstance(status, Status) or status.jobs_waiting != waiting:
        raise SystemExit(f"gate failed: {waiting} jobs should wait: {status}")
    return took_s


@contextmanager
def manager(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A Manager in a process of its own."""
    command = [sys.executable, "-m", "kernel.main", "--fake-engines", "--config", str(folder / "spoon.toml")]
    with (folder / "log").open("wb") as log, process(command, log.fileno()) as running:
        yield running


@contextmanager
def caller(folder: Path, running: "subprocess.Popen[bytes]") -> Iterator[Caller]:
    """A client, as soon as the Manager has made the keys."""
    end_s = time.monotonic() + WAIT_S
    keys = (server_key_file(folder / "bus"), secret_key_file(folder / "bus", ClientRole.ADMIN))
    while not all(file.exists() for file in keys):
        if time.monotonic() > end_s or running.poll() is not None:
            raise SystemExit(f"gate failed: no start:\n{(folder / 'log').read_text()}")
        time.sleep(0.005)
    found = Caller(folder / "bus")
    try:
        yield found
    finally:
        found.close()


def check_pictures(folder: Path) -> None:
    """Raises: SystemExit, if a start has swept a picture away."""
    found = sum(1 for file in (folder / "images").iterdir() if file.name != INSTALLATION_FILE)
    if found != MANY:
        raise SystemExit(f"gate failed: {found} pictures are left of {MANY}")


if __name__ == "__main__":
    main()
