"""Which jobs and images a caller sees: a user those of its key, everybody else all; what is not seen is not
found."""

from dataclasses import replace
from typing import TypeVar

from api.http.contract.caller import Caller
from kernel.protocol.errors import ImageNotFound, JobNotFound
from kernel.protocol.ids import ImageId, JobId
from kernel.views.images import find_image
from kernel.views.jobs import find_job
from kernel.views.keys import key_called
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow, JobRow
from kernel.views.search import Search

Filter = TypeVar("Filter", bound=Search)


def find_seen_job(reader: Reader, caller: Caller, job_id: str) -> JobRow:
    """The job of a path.

    Raises: JobNotFound, also if it belongs to a key whose jobs the caller does not see.
    """
    row = find_job(reader, JobId(job_id))
    if row is None or not caller.sees(row.key_id):
        raise JobNotFound(f"no job has the id {job_id!r}")
    return row


def find_seen_image(reader: Reader, caller: Caller, image_id: str) -> ImageRow:
    """The image of a path.

    Raises: ImageNotFound, if it never existed, or belongs to a key whose images the caller does not see.
    """
    row = find_image(reader, ImageId(image_id))
    if row is None or not caller.sees(row.key_id):
        raise ImageNotFound(f"no image has the id {image_id!r}")
    return row


def seen(reader: Reader, caller: Caller, wanted: Filter, key: str | None) -> Filter | None:
    """The filter for what the caller sees, of the key with this id or name; None, if that is nothing."""
    key_id = caller.sees_only
    if key is not None:
        row = key_called(reader, key)
        if row is None or not caller.sees(row.key_id):
            return None
        key_id = row.key_id
    return replace(wanted, key_id=key_id)
