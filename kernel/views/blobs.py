"""The files of jobs beside their images: what came with them, and their control maps.

A blob is deleted some time after its job has ended (setting `blobs.expire_after`). That there was one is then
still told by the job's spec: its `inputs`, and its `controls` that are not preprocessed.
"""

from collections.abc import Sequence

import msgspec

from kernel.protocol.enums import BlobKind
from kernel.protocol.ids import JobId
from kernel.views.reader import Reader
from kernel.views.rows import BlobRow


def find_blob(reader: Reader, job_id: JobId, kind: BlobKind) -> BlobRow | None:
    """One file of a job; None, if there is none, or none any more."""
    return reader.one("blob", BlobRow, {"job_id": job_id, "kind": kind})


def blobs_of(reader: Reader, job_ids: Sequence[JobId]) -> dict[JobId, list[BlobRow]]:
    """By job: what each of these jobs has, in the order of its kinds. A job without any is left out."""
    wanted = msgspec.json.encode(list(job_ids)).decode()
    found: dict[JobId, list[BlobRow]] = {}
    for row in reader.all("blobs_of", BlobRow, {"job_ids": wanted}):
        found.setdefault(row.job_id, []).append(row)
    return found
