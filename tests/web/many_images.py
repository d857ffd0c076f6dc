"""A database with very many images, as a long life leaves it; their files are one file."""

from io import BytesIO
from pathlib import Path
from typing import Final

import apsw
from msgspec.structs import replace
from PIL import Image

from bench.filling import SPEC
from kernel.shell import rowmap

PER_JOB: Final = 100
FILE: Final = "01900002-0000-7000-8000-000000000000.png"
FIRST_MS: Final = 1_780_000_000_000
EVERY_MS: Final = 60_000
FAVORITES: Final = 700
"""Every so many images is a favorite, with a tag."""
WIDE: Final = 41
"""Every so many jobs has wide images."""
ANIMALS: Final = ("fox", "owl", "heron", "badger", "lynx")
_TERMS: Final = "(rowid, prompt, facts, image_id) SELECT place, prompt, facts, image_id FROM image_terms"


def image_id(number: int) -> str:
    return f"01900002-0000-7000-8000-{number:012}"


def animal_of(job: int) -> str:
    """What the images of a job show."""
    return ANIMALS[job % len(ANIMALS)]


def is_wide(number: int) -> bool:
    return number // PER_JOB % WIDE == 0


def fill(database_file: Path, images: Path, count: int) -> None:
    """So many images, the newest with the highest number. What triggers would do for each is done for all."""
    made = BytesIO()
    Image.linear_gradient("L").resize((512, 512)).convert("RGB").save(made, "PNG")
    (images / FILE).write_bytes(made.getvalue())
    size_bytes = len(made.getvalue())
    connection = apsw.Connection(str(database_file))
    triggers = list(
        connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'image'"
        )
    )
    with connection:
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.executemany(
            "INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes,"
            " warnings, created_at_ms, finished_at_ms, checkpoint)"
            " VALUES (?, ?, 'studio', 'finished', 0, ?, '[]', 1, 0, '[]', ?, ?, 'painter')",
            (_job(number) for number in range(count // PER_JOB)),
        )
        connection.executemany(
            "INSERT INTO image (image_id, job_id, engine_id, position, file_name, mime, width_px, height_px,"
            " size_bytes, sha256, downloads, created_at_ms, seed, tags, favorite, checkpoint)"
            f" VALUES (?, ?, 'studio', ?, '{FILE}', 'image/png', ?, 512, {size_bytes}, '{'0' * 64}',"
            " 0, ?, ?, ?, ?, 'painter')",
            (_image(number) for number in range(count)),
        )
        connection.execute(f"INSERT INTO image_search {_TERMS}")
        connection.execute(
            "INSERT INTO time_range SELECT 'image', period, min(place), max(place)"
            " FROM image_terms GROUP BY period"
        )
        connection.execute("INSERT INTO image_count SELECT * FROM image_recount")
        for _, sql in triggers:
            connection.execute(str(sql))
    connection.close()


def _job(number: int) -> tuple[int | str, ...]:
    prompt = f"a {animal_of(number)} in the snow, number {number}"
    spec = replace(SPEC, prompt=prompt, seed=number, count=PER_JOB)
    at_ms = FIRST_MS + number * PER_JOB * EVERY_MS
    return (number + 1, f"01900001-0000-7000-8000-{number:012}", rowmap.to_json(spec), at_ms, at_ms)


def _image(number: int) -> tuple[int | str, ...]:
    job, position = divmod(number, PER_JOB)
    width_px = 768 if is_wide(number) else 512
    is_favorite = number % FAVORITES == 0
    at_ms = FIRST_MS + number * EVERY_MS
    said = ('["best"]' if is_favorite else "[]", int(is_favorite))
    return (image_id(number), f"01900001-0000-7000-8000-{job:012}", position, width_px, at_ms, number, *said)
