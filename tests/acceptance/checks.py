"""What must be true of an installation at any time of quiet, whatever happened before."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import apsw

from kernel.protocol.enums import ENDED_JOB_STATES, JobState
from kernel.protocol.ids import JobId
from kernel.protocol.rows import BlobRow
from kernel.shell.files import INSTALLATION_FILE
from kernel.views.rows import ImageRow
from tests.acceptance.server import Server


def assert_whole(server: Server) -> None:
    """Finished jobs have all their pictures, every file is whole, and there is nothing else."""
    _assert_integrity(server)
    images = {image.image_id: image for image in server.records.images()}
    jobs = server.records.jobs()
    twice = [job_id for job_id, count in Counter(job.job_id for job in jobs).items() if count > 1]
    assert not twice, f"jobs that are there twice: {twice}"
    for job in jobs:
        if job.status is JobState.FINISHED:
            missing = [image_id for image_id in job.image_ids if image_id not in images]
            assert not missing, f"finished job {job.job_id} lacks {missing}"
    _assert_files(server.images, [image for image in images.values() if image.gone_reason is None])
    _assert_files(server.blobs, server.records.blobs())
    _assert_blobs(server, {job.job_id: job.status for job in jobs})


def _assert_files(folder: Path, rows: Sequence[ImageRow | BlobRow]) -> None:
    for row in rows:
        data = (folder / row.file_name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row.size_bytes, row.sha256), row.file_name
    known = {row.file_name for row in rows} | {INSTALLATION_FILE}
    strays = {file.name for file in folder.iterdir()} - known
    assert not strays, f"files that belong to nothing: {strays}"


def _assert_blobs(server: Server, states: dict[JobId, JobState]) -> None:
    """What came with a job stays while it is open, and its time begins with the job's end."""
    for blob in server.records.blobs():
        assert (blob.expires_at_ms is None) == (states[blob.job_id] not in ENDED_JOB_STATES), blob


def _assert_integrity(server: Server) -> None:
    database = apsw.Connection(str(server.database_file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert database.pragma("integrity_check") == "ok"
        lost = "SELECT count(*) FROM blob WHERE job_id NOT IN (SELECT job_id FROM job)"
        assert database.execute(lost).get == 0, "files of jobs that are no more"
    finally:
        database.close()
