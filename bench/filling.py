"""A database as a long life leaves it, with engines, states and ends of all kinds; and what to ask of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.stage import MODEL
from kernel.core.actions import SaveEngine
from kernel.protocol.enums import EngineState, JobState, Scheduler
from kernel.protocol.ids import EngineId
from kernel.protocol.rows import EngineRow
from kernel.protocol.specs import EngineSpec, JobSpec
from kernel.shell import rowmap
from kernel.shell.store import Store

ENGINES: Final = 5
WAITING_SHARE: Final = 4
"""Every fourth job waits, for a closed engine."""
GONE_SHARE: Final = 2
"""Every second image is gone; of the first engine's all but a few."""
KEPT_OF_FIRST: Final = 60
FIRST_MS: Final = 1_700_000_000_000
LIFE_MS: Final = 90 * 86_400_000
"""The rows are made evenly through so long a time, however many they are."""
EVENTS: Final = 5_000
IMAGE_BYTES: Final = 400_000
SPEC: Final = JobSpec(
    prompt="a large red circle over a village in the mountains, in the style of a woodcut",
    negative_prompt="blurry",
    seed=1,
    count=1,
    steps=20,
    guidance_scale=7.5,
    width_px=512,
    height_px=512,
    scheduler=Scheduler.EULER,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing to ask for, and what proves the answer: the length or the value of this part of it."""

    path: str
    key: str | None = None
    count: int = 0
    method: str = "GET"
    body: str | None = None


def fill(database_file: Path, rows: int) -> None:
    """So many jobs, each with an image if it is finished; engines, changes."""
    store = Store(database_file)
    for number in range(ENGINES):
        spec = EngineSpec(name=f"e{number}", checkpoint=MODEL, autostart=False)
        store.save(
            SaveEngine(
                EngineRow(
                    engine_id=EngineId(engine_id(number)),
                    name=spec.name,
                    spec=spec,
                    status=EngineState.CLOSED,
                    created_at_ms=FIRST_MS,
                )
            )
        )
    store.commit()
    with store.connection as connection:
        connection.executemany(
            "INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes,"
            " warnings, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, '[]', ?)",
            (_job(number, rows) for number in range(1, rows + 1)),
        )
        connection.executemany(
            "INSERT INTO image (image_id, job_id, engine_id, position, file_name, mime, width_px, height_px,"
            " size_bytes, sha256, seed, downloads, created_at_ms, gone_reason, gone_at_ms)"
            " VALUES (?, ?, ?, 0, ?, 'image/png', 512, 512, ?, '', 1, 0, ?, ?, ?)",
            (_image(number, rows) for number in range(1, rows + 1)),
        )
        connection.executemany(
            "INSERT INTO event (seq, kind, id, state, at_ms) VALUES (?, 'job', ?, 'waiting', ?)",
            ((seq, job_id(seq), made_at_ms(seq, rows)) for seq in range(1, EVENTS + 1)),
        )
    store.close()


def _job(number: int, rows: int) -> tuple[str | int, ...]:
    ended = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)
    status = JobState.WAITING if number % WAITING_SHARE == 0 else ended[number % 97 % 3]
    place = (number, job_id(number), engine_id(number % ENGINES), status, number % 11 % 2)
    return (*place, rowmap.to_json(SPEC), rowmap.to_json([image_id(number)]), made_at_ms(number, rows))


def _image(number: int, rows: int) -> tuple[str | int | None, ...]:
    is_gone = number % GONE_SHARE == 0 if number % ENGINES else number > KEPT_OF_FIRST * ENGINES
    end = ("deleted", FIRST_MS + LIFE_MS) if is_gone else (None, None)
    place = (image_id(number), job_id(number), engine_id(number % ENGINES), f"{image_id(number)}.png")
    return (*place, IMAGE_BYTES, made_at_ms(number, rows), *end)


def kept(rows: int) -> int:
    """How many images are not gone."""
    return sum(1 for number in range(1, rows + 1) if _image(number, rows)[6] is None)


def made_at_ms(number: int, rows: int) -> int:
    return FIRST_MS + LIFE_MS * number // rows


def engine_id(number: int) -> str:
    return _uuid(3, number)


def job_id(number: int) -> str:
    return _uuid(1, number)


def image_id(number: int) -> str:
    return _uuid(2, number)


def _uuid(kind: int, number: int) -> str:
    return f"0190{kind:04x}-{number >> 16:04x}-7000-8000-{number:012x}"


def routes(rows: int) -> dict[str, Wanted]:
    """Every GET with its filters, and the dry runs, by a name that does not tell the rows."""
    lists = {one.path.replace(engine_id(0), "A").replace(engine_id(1), "B"): one for one in _lists()}
    health = ("/metrics", "/v1/health/live", "/v1/health/ready", "/v1/capabilities", "/v1/devices")
    few = ("/v1/models", "/v1/models?name=bench", "/v1/engines")
    return lists | {name: Wanted(name) for name in (*health, *few)} | _single(rows) | _prunes(kept(rows))


def _lists() -> list[Wanted]:
    first, other = f"engine_id={engine_id(0)}", f"engine_id={engine_id(1)}"
    jobs = ("", "?status=waiting", "?status=failed", f"?{other}", f"?{first}&status=waiting")
    images = ("", "?gone=true", "?gone=false", f"?{first}", f"?{first}&gone=false", f"?{first}&gone=true",
              f"?{other}&gone=false")  # fmt: skip
    paths = [*(f"/v1/jobs{query}" for query in jobs), *(f"/v1/images{query}" for query in images)]
    return [Wanted(path, "items", 50) for path in paths]


def _single(rows: int) -> dict[str, Wanted]:
    middle = rows // 2 + 1
    last_waiting = rows - rows % (WAITING_SHARE * ENGINES)
    return {
        "/v1/jobs?after": Wanted(f"/v1/jobs?after={middle}", "items", 50),
        "/v1/images?after": Wanted(f"/v1/images?gone=false&after={image_id(middle)}", "items", 50),
        "/v1/images?job_id": Wanted(f"/v1/images?job_id={job_id(middle)}", "items", 1),
        "/v1/engines/{id}": Wanted(f"/v1/engines/{engine_id(0)}"),
        "/v1/jobs/{ended}": Wanted(f"/v1/jobs/{job_id(middle)}"),
        "/v1/jobs/{waiting}": Wanted(f"/v1/jobs/{job_id(last_waiting)}"),
        "/v1/images/{id}": Wanted(f"/v1/images/{image_id(middle)}"),
    }


def _prunes(there: int) -> dict[str, Wanted]:
    enough = f'"keep_bytes": {there * IMAGE_BYTES}'
    return {
        "prune, nothing to do": _prune(enough, 0),
        "prune, dry, nothing to do": _prune(f'{enough}, "dry_run": true', 0),
        "prune, dry, all": _prune('"keep_bytes": 0, "dry_run": true', there),
        "prune, dry, older": _prune('"older_than_s": 0, "dry_run": true', there),
        "prune, dry, one engine": _prune(
            f'"keep_bytes": 0, "dry_run": true, "engine_id": "{engine_id(0)}"', KEPT_OF_FIRST
        ),
    }


def _prune(fields: str, count: int) -> Wanted:
    return Wanted("/v1/images/prune", "images", count, "POST", f"{{{fields}}}")
