"""/v1/images/{image_id}/infotext: what an image's file says of how it was made. To read it is no download."""

from collections.abc import Callable
from pathlib import Path

import falcon
import msgspec

from api.http.contract.caller import caller_of
from api.http.contract.image_types import gone_of
from api.http.contract.responses import send
from api.http.framework.file_headers import plain_name
from api.http.infotext.image_texts import infotext_in
from api.http.resources.ownership import find_seen_image
from kernel.protocol.enums import GONE_TEXTS
from kernel.protocol.errors import ImageGone
from kernel.views.reader import Reader


class ImageInfotext(msgspec.Struct, frozen=True, kw_only=True):
    """The generation parameters in the format that Stable Diffusion tools read; null: the file has none."""

    infotext: str | None


class ImageInfotexts:
    """Reads the texts of image files."""

    def __init__(self, reader: Reader, folder: Path, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self._folder = folder
        self._now_ms = now_ms

    def show(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        row = find_seen_image(self._reader, caller_of(req), image_id)
        if (gone := gone_of(row, self._now_ms())) is not None:
            raise ImageGone(GONE_TEXTS[gone.reason])
        try:
            data = (self._folder / plain_name(row.file_name)).read_bytes()
        except FileNotFoundError as error:
            raise ImageGone(f"the file of image {row.image_id} no longer exists") from error
        send(resp, 200, ImageInfotext(infotext=_infotext_of(data)))


def _infotext_of(data: bytes) -> str | None:
    """None also for a file that others have spoiled."""
    try:
        return infotext_in(data) or None
    except ValueError:
        return None
