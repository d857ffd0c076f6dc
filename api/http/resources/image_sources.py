"""The inputs of an image: /v1/images/{image_id}/reference, /mask, /pose and /pose_map."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import falcon
import msgspec

from api.http.contract.caller import caller_of
from api.http.contract.errors import InputGone, NoSuchInput
from api.http.contract.request_parsing import QueryReader
from api.http.framework.file_headers import describe, is_known, plain_name, tag
from api.http.resources.ownership import find_seen_image
from kernel.protocol.enums import ENDED_JOB_STATES, BlobKind, ControlType, InputKind
from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import JobId
from kernel.protocol.rows import BlobRow
from kernel.views.jobs import find_blob, find_job
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow

_NAMES: Final = {
    InputKind.REFERENCE: "reference image",
    InputKind.MASK: "mask",
    InputKind.POSE: "pose image",
}


class PoseMapQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The type of the map; optional if the image has only one."""

    type: ControlType | None = None


class ImageSources:
    """Sends a job's input images, and the control maps drawn for it."""

    def __init__(self, reader: Reader, folder: Path, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self._folder = folder
        self._now_ms = now_ms
        self._map_query = QueryReader(PoseMapQuery)

    def show_reference(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._show_input(req, resp, image_id, InputKind.REFERENCE)

    def show_mask(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._show_input(req, resp, image_id, InputKind.MASK)

    def show_pose(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._show_input(req, resp, image_id, InputKind.POSE)

    def show_pose_map(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        """The map that a detector drew, or the pose image if it already was a map."""
        wanted = self._map_query.read(req).type
        image = find_seen_image(self._reader, caller_of(req), image_id)
        uses = {use.control_type: use for use in image.spec.controls}
        if wanted is None and len(uses) > 1:
            raise wrong_field("type", f"is required: the image has maps of types {', '.join(uses)}")
        use = next(iter(uses.values()), None) if wanted is None else uses.get(wanted)
        if use is None:
            raise NoSuchInput(f"image {image_id} has no {wanted or 'control'} map")
        kind = BlobKind.POSE if use.is_preprocessed else BlobKind(f"map_{use.control_type}")
        self._send(req, resp, image, kind, f"{use.control_type} map")

    def _show_input(self, req: falcon.Request, resp: falcon.Response, image_id: str, kind: InputKind) -> None:
        image = find_seen_image(self._reader, caller_of(req), image_id)
        if kind not in image.spec.inputs:
            raise NoSuchInput(f"image {image_id} has no {_NAMES[kind]}")
        self._send(req, resp, image, BlobKind(kind.value), _NAMES[kind])

    def _send(
        self, req: falcon.Request, resp: falcon.Response, image: ImageRow, kind: BlobKind, what: str
    ) -> None:
        row = self._stored(image, kind, what)
        tag(resp, row.sha256)
        if is_known(req.get_header("If-None-Match"), row.sha256):
            resp.status = 304
            return
        describe(resp, row.mime, row.size_bytes, f"{image.image_id}-{kind}")
        if req.method == "HEAD":
            return
        try:
            resp.stream = (self._folder / plain_name(row.file_name)).open("rb")
        except FileNotFoundError as error:
            raise _gone(image, what) from error

    def _stored(self, image: ImageRow, kind: BlobKind, what: str) -> BlobRow:
        """The row of the file. The job's spec says that it existed: without a row it has expired.

        Only a map may not have arrived yet.
        """
        row = find_blob(self._reader, image.job_id, kind)
        if row is None and self._is_open(image.job_id):
            raise NoSuchInput(
                f"the {what} of image {image.image_id} is not available yet: its job has not ended"
            )
        if row is None or (row.expires_at_ms is not None and row.expires_at_ms <= self._now_ms()):
            raise _gone(image, what)
        return row

    def _is_open(self, job_id: JobId) -> bool:
        job = find_job(self._reader, job_id)
        return job is not None and job.status not in ENDED_JOB_STATES


def _gone(image: ImageRow, what: str) -> InputGone:
    return InputGone(f"the {what} of image {image.image_id} has expired (setting blobs.expire_after)")
