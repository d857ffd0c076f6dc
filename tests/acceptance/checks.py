"""What must be true of an installation at any time of quiet, whatever happened before."""

import hashlib
from collections import Counter

import apsw

from kernel.protocol.vocabulary import JobState
from kernel.shell.files import INSTALLATION_FILE
from tests.acceptance.server import Server


def assert_whole(server: Server) -> None:
    """Finished jobs have all their pictures, pictures are whole files, and there is nothing else."""
    _assert_integrity(server)
    images = {image.image_id: image for image in server.records.images()}
    jobs = server.records.jobs()
    twice = [job_id for job_id, count in Counter(job.job_id for job in jobs).items() if count > 1]
    assert not twice, f"jobs that are there twice: {twice}"
    for job in jobs:
        if job.status is JobState.FINISHED:
            missing = [image_id for image_id in job.image_ids if image_id not in images]
            assert not missing, f"finished job {job.job_id} lacks {missing}"
    kept = {image.file_name: image for image in images.values() if image.gone_reason is None}
    for name, image in kept.items():
        data = (server.images / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (image.size_bytes, image.sha256), name
    strays = {file.name for file in server.images.iterdir()} - set(kept) - {INSTALLATION_FILE}
    assert not strays, f"files that belong to nothing: {strays}"


def _assert_integrity(server: Server) -> None:
    database = apsw.Connection(str(server.database_file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert database.pragma("integrity_check") == "ok"
    finally:
        database.close()
