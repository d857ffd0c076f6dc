"""A database as a long life leaves it, with engines, states and ends of all kinds; and what to ask of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from bench.server import KEY_ID, add_key
from bench.stage import MODEL
from kernel.core.actions import SaveEngine
from kernel.protocol.enums import EngineState, JobState, Scheduler
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.model_refs import LoraUse
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
SEEDS: Final = 100
NIGHT_SHARE: Final = 3
"""Every third prompt has one word more, every tenth job a LoRA."""
LORA_SHARE: Final = 10
KEY_SHARE: Final = 7
"""Every seventh job belongs to a key."""
TAG_SHARE: Final = 20
"""Every twentieth image has a tag, every fiftieth is a favorite."""
FAVORITE_SHARE: Final = 50
FIRST_MS: Final = 1_700_000_000_000
DAY_MS: Final = 86_400_000
LIFE_MS: Final = 90 * DAY_MS
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
    """So many jobs, each with an image if it is finished; engines, changes, a key."""
    add_key(database_file)
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
            " warnings, created_at_ms, key_id, checkpoint)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, '[]', ?, ?, '{MODEL}')",
            (_job(number, rows) for number in range(1, rows + 1)),
        )
        connection.execute(
            "INSERT INTO job_search (rowid, prompt, facts) SELECT place, prompt, facts FROM job_terms"
        )
        connection.execute(
            "INSERT INTO time_range SELECT 'job', period, min(place), max(place)"
            " FROM job_terms GROUP BY period"
        )
        connection.executemany(
            "INSERT INTO image (image_id, job_id, engine_id, position, file_name, mime, width_px, height_px,"
            " size_bytes, sha256, downloads, created_at_ms, gone_reason, gone_at_ms, seed, tags, favorite,"
            " checkpoint) VALUES (?, ?, ?, 0, ?, 'image/png', 512, 512, ?, '', 0, ?, ?, ?, ?, ?, ?,"
            f" '{MODEL}')",
            (_image(number, rows) for number in range(1, rows + 1)),
        )
        connection.executemany(
            "INSERT INTO event (seq, kind, id, state, at_ms) VALUES (?, 'job', ?, 'waiting', ?)",
            ((seq, job_id(seq), made_at_ms(seq, rows)) for seq in range(1, EVENTS + 1)),
        )
    store.close()


def _job(number: int, rows: int) -> tuple[str | int | None, ...]:
    ended = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)
    status = JobState.WAITING if number % WAITING_SHARE == 0 else ended[number % 97 % 3]
    place = (number, job_id(number), engine_id(number % ENGINES), status, number % 11 % 2)
    night = " at night" if number % NIGHT_SHARE == 0 else ""
    loras = (LoraUse(model_id=ModelId("detail")),) if number % LORA_SHARE == 0 else ()
    spec = replace(SPEC, prompt=SPEC.prompt + night, seed=number % SEEDS, loras=loras)
    ids, key_id = rowmap.to_json([image_id(number)]), KEY_ID if number % KEY_SHARE == 0 else None
    return (*place, rowmap.to_json(spec), ids, made_at_ms(number, rows), key_id)


def _image(number: int, rows: int) -> tuple[str | int | None, ...]:
    is_gone = number % GONE_SHARE == 0 if number % ENGINES else number > KEPT_OF_FIRST * ENGINES
    end = ("deleted", FIRST_MS + LIFE_MS) if is_gone else (None, None)
    place = (image_id(number), job_id(number), engine_id(number % ENGINES), f"{image_id(number)}.png")
    said = ('["best"]' if number % TAG_SHARE == 0 else "[]", int(number % FAVORITE_SHARE == 0))
    return (*place, IMAGE_BYTES, made_at_ms(number, rows), *end, number % SEEDS, *said)


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
    return (
        lists
        | _searches(rows)
        | {name: Wanted(name) for name in (*health, *few)}
        | _single(rows)
        | _prunes(kept(rows))
    )


def _lists() -> list[Wanted]:
    first, other = f"engine_id={engine_id(0)}", f"engine_id={engine_id(1)}"
    jobs = ("", "?status=waiting", "?status=failed", f"?{other}", f"?{first}&status=waiting")
    images = ("", "?gone=true", "?gone=false", f"?{first}", f"?{first}&gone=false", f"?{first}&gone=true",
              f"?{other}&gone=false")  # fmt: skip
    paths = [*(f"/v1/jobs{query}" for query in jobs), *(f"/v1/images{query}" for query in images)]
    many = [path for path in paths if not ("engine_id" in path and "gone=false" in path)]
    paths += [f"{path}{'&' if '?' in path else '?'}key=bench" for path in many]
    return [Wanted(path, "items", 50) for path in paths]


def _searches(rows: int) -> dict[str, Wanted]:
    """One of each filter, and combinations of what many rows have and of what few have."""
    middle_ms = made_at_ms(rows // 2, rows)
    since, until = f"created_after={_text(middle_ms)}", f"created_before={_text(middle_ms + DAY_MS)}"
    both = (
        "prompt=village%20circle",
        "prompt=%22in%20the%20style%22",
        "lora=detail",
        f"checkpoint={MODEL}",
        "engine=e1",
        "seed=7",
        "width=512&height=512",
        since,
        until,
        f"{since}&{until}",
        "order=oldest",
        "prompt=night&order=oldest",
        "prompt=night&engine=e0&lora=detail",
        f"prompt=circle&{until}&seed=7",
    )
    jobs = ("prompt=night&status=waiting", "lora=detail&status=failed")
    images = (
        "tag=best",
        "favorite=true",
        "prompt=circle&favorite=false&gone=false",
        "prompt=night&gone=true",
        "tag=best&favorite=true",
        "prompt=circle&engine=e0&gone=false",
    )
    paths = [f"/v1/jobs?{one}" for one in (*both, *jobs)] + [f"/v1/images?{one}" for one in (*both, *images)]
    nothing = [
        f"/v1/{kind}?{one}" for kind in ("jobs", "images") for one in ("prompt=zebra%20red", "engine=e9")
    ]
    wanted = [Wanted(path, "items", 50) for path in paths] + [Wanted(path, "items", 0) for path in nothing]
    moments = ((_text(middle_ms), "M"), (_text(middle_ms + DAY_MS), "N"))
    return {one.path.replace(*moments[0]).replace(*moments[1]): one for one in wanted}


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
