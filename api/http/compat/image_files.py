"""Image files as a part of a response: each counts as a download once the response was sent."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from api.http.framework.file_headers import plain_name
from api.port import BusPort
from kernel.protocol.client import ClaimDownload, DownloadGranted, FinishDownload
from kernel.protocol.errors import ImageGone
from kernel.protocol.ids import ImageId


class ImageFile(msgspec.Struct, frozen=True):
    """A file whose download is claimed: `finish` is to be called once, with whether it was sent."""

    data: bytes
    finish: Callable[[bool], None]


class ImageFiles:
    """Reads image files."""

    def __init__(self, bus: BusPort, folder: Path) -> None:
        self._bus = bus
        self._folder = folder

    def read(self, image_id: ImageId) -> ImageFile:
        """Claim a download, and read the file.

        Raises: ImageGone, ImageBusy; as BusPort.ask.
        """
        granted = self._bus.ask(ClaimDownload(image_id=image_id), DownloadGranted)

        def finish(whole: bool) -> None:
            self._bus.tell(FinishDownload(image_id=image_id, ticket=granted.ticket, whole=whole))

        try:
            data = (self._folder / plain_name(granted.file_name)).read_bytes()
        except FileNotFoundError as error:
            finish(False)
            raise ImageGone(f"the file of image {image_id} no longer exists") from error
        except BaseException:
            finish(False)
            raise
        return ImageFile(data, finish)

    def read_all(self, image_ids: Iterable[ImageId]) -> list[ImageFile]:
        """Read several files, or none. Raises: as `read`."""
        found: list[ImageFile] = []
        try:
            for image_id in image_ids:
                found.append(self.read(image_id))
        except BaseException:
            for file in found:
                file.finish(False)
            raise
        return found


class SentBody(io.BytesIO):
    """A response's body that tells, when the server closes it, whether all of it was sent.

    As `api.http.framework.ranges.FileStream`: the server reads a piece, sends it, and reads on.
    """

    def __init__(self, body: bytes, files: Iterable[ImageFile]) -> None:
        super().__init__(body)
        self._files = tuple(files)
        self._length = len(body)

    def close(self) -> None:
        files, self._files = self._files, ()
        sent_all = bool(files) and self.tell() >= self._length
        super().close()
        for file in files:
            file.finish(sent_all)
