"""Images of the server as input images of a job: the file is read here, and no download is counted."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.http.contract.caller import Caller
from api.http.contract.image_types import gone_of
from api.http.contract.job_input import IMAGE_FIELDS, JobInput
from api.http.framework.file_headers import plain_name
from api.http.resources.ownership import find_seen_image
from kernel.protocol.enums import GONE_TEXTS, InputKind
from kernel.protocol.errors import ImageGone, ImageNotFound, of_field
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow

StoredInputs = Mapping[InputKind, ImageRow]
"""Images that a job names by their ids."""


@dataclass(frozen=True, slots=True)
class StoredImages:
    """Finds images for a caller, and reads their files from `folder`."""

    reader: Reader
    folder: Path
    now_ms: Callable[[], int]

    def find(self, found: JobInput, caller: Caller) -> StoredInputs:
        """The images that a job names.

        Raises: ImageNotFound, also for an image that the caller does not see; ImageGone. Both name the field.
        """
        ids = {kind: getattr(found, field) for kind, field in IMAGE_FIELDS.items()}
        return {kind: self._row(kind, one, caller) for kind, one in ids.items() if one is not None}

    def _row(self, kind: InputKind, image_id: str, caller: Caller) -> ImageRow:
        field = IMAGE_FIELDS[kind]
        try:
            row = find_seen_image(self.reader, caller, image_id)
        except ImageNotFound as error:
            raise of_field(ImageNotFound, field, error.detail) from error
        if (gone := gone_of(row, self.now_ms())) is not None:
            raise of_field(ImageGone, field, GONE_TEXTS[gone.reason])
        return row

    def read(self, stored: StoredInputs) -> dict[InputKind, bytes]:
        """The files, unchanged.

        Raises: ImageGone, if one is no longer there, or is not what was stored.
        """
        found = {}
        for kind, row in stored.items():
            try:
                data = (self.folder / plain_name(row.file_name)).read_bytes()
            except FileNotFoundError as error:
                raise self._lost(kind, row) from error
            if hashlib.sha256(data).hexdigest() != row.sha256:
                raise self._lost(kind, row)
            found[kind] = data
        return found

    @staticmethod
    def _lost(kind: InputKind, row: ImageRow) -> ImageGone:
        problem = f"the file of image {row.image_id} no longer exists"
        return of_field(ImageGone, IMAGE_FIELDS[kind], problem)
