"""Jobs in both orders; the queue positions of waiting ones; and the files of jobs besides their images.

An input image or control map (blob) is deleted some time after the job has ended (setting
`blobs.expire_after`). The job's spec still tells that it existed: `inputs`, and `controls` that are not
preprocessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from kernel.protocol.enums import ENDED_JOB_STATES, BlobKind, JobState
from kernel.protocol.ids import EngineId, JobId
from kernel.protocol.rows import BlobRow
from kernel.views.page import Order, Page, number_cursor, page_of
from kernel.views.reader import Reader, SqlValue
from kernel.views.rows import Found, JobRow, Pace, Position
from kernel.views.search import ENDED, OPEN, Search, places_after, search_values

_ENDED_EARLY: Final = frozenset({JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class JobFilter(Search):
    """A filter of jobs; None matches all."""

    status: JobState | None = None

    @property
    def _indexed(self) -> tuple[str, ...]:
        """The index of the search does not have the jobs that wait, which the lists of a key have."""
        return ("engine_id", "status", "key_id")


def find_job(reader: Reader, job_id: JobId) -> JobRow | None:
    """One job by its id."""
    row = reader.one("job", JobRow, {"job_id": job_id})
    return None if row is None else _with_their_images(reader, [row])[0]


def list_jobs(
    reader: Reader, wanted: JobFilter, limit: int, after: str | None = None, order: Order = Order.NEWEST
) -> Page[JobRow]:
    """A page of jobs.

    Raises: InvalidField, if `after` is not a cursor of this list.
    """
    values: dict[str, SqlValue] = {"status": wanted.status, "limit": limit + 1}
    if wanted.is_search:
        is_open = wanted.status not in ENDED_JOB_STATES
        states = (OPEN, *ENDED) if wanted.status is None else (OPEN,) if is_open else (wanted.status,)
        more = search_values(reader, wanted, "job", states, places_after(after, order))
        query = "jobs_found_processing" if wanted.status is JobState.PROCESSING else "jobs_found"
        found = [] if more is None else reader.all(query + order.suffix, JobRow, values | more)
    else:
        values |= {
            "engine_id": wanted.engine_id,
            "key_id": wanted.key_id,
            "after": number_cursor(after, order),
        }
        found = reader.all(_query_of(wanted) + order.suffix, JobRow, values)
    return page_of(_with_their_images(reader, found), limit, lambda row: str(row.seq))


def _with_their_images(reader: Reader, rows: list[JobRow]) -> list[JobRow]:
    """Jobs whose `image_ids` are those that they have, or will have: no others of one that ended early."""
    short = [row.job_id for row in rows if row.status in _ENDED_EARLY]
    if not short:
        return rows
    wanted = msgspec.json.encode(short).decode()
    there = {row.id for row in reader.all("images_of_jobs", Found, {"job_ids": wanted})}
    return [
        replace(row, image_ids=tuple(one for one in row.image_ids if one in there))
        if row.status in _ENDED_EARLY
        else row
        for row in rows
    ]


def jobs_ahead(reader: Reader, job: JobRow) -> int:
    """The number of waiting jobs of the same engine ahead of this one: those of its key with a higher
    priority, or the same and older; and as many of other keys as have their turns meanwhile, to within one of
    each."""
    found = reader.one(
        "jobs_ahead",
        Position,
        {
            "engine_id": job.engine_id,
            "key_id": job.key_id or "",
            "priority": job.priority,
            "seq": job.seq,
        },
    )
    return found.ahead if found else 0


def seconds_per_job(reader: Reader, engine_id: EngineId) -> float | None:
    """How fast an engine made its last jobs, several together or one by one; None, if it has made none."""
    found = reader.one("pace", Pace, {"engine_id": engine_id})
    return None if found is None or found.job_ms is None else found.job_ms / 1_000


def last_key(reader: Reader, prefix: str, since_ms: int) -> str | None:
    """The newest idempotency key in ASCII that begins so, of those that were used since then."""
    found = reader.one("last_key", Found, {"prefix": prefix, "since_ms": since_ms})
    return None if found is None else found.id


def find_blob(reader: Reader, job_id: JobId, kind: BlobKind) -> BlobRow | None:
    """A file of a job; None, if it has none of this kind, or no longer."""
    return reader.one("blob", BlobRow, {"job_id": job_id, "kind": kind})


def blobs_of(reader: Reader, job_ids: Sequence[JobId]) -> dict[JobId, list[BlobRow]]:
    """The blobs of each of these jobs, ordered by kind. Jobs without blobs are left out."""
    wanted = msgspec.json.encode(list(job_ids)).decode()
    found: dict[JobId, list[BlobRow]] = {}
    for row in reader.all("blobs_of", BlobRow, {"job_ids": wanted}):
        found.setdefault(row.job_id, []).append(row)
    return found


def _query_of(wanted: JobFilter) -> str:
    """Each combination of filters is a query of its own, so that each has its index."""
    by_status = "_by_status" if wanted.status is not None else ""
    by_engine = "_by_engine" if wanted.engine_id is not None else ""
    by_key = "_by_key" if wanted.key_id is not None else ""
    return f"jobs{by_key}{by_engine}{by_status}"
