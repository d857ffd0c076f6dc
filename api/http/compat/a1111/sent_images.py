"""Images in requests of A1111's clients, checked and decoded one at a time over all requests."""

from io import BytesIO
from typing import TYPE_CHECKING, Final

from api.http.framework.input_images import fault_of, from_base64, most_pixels
from api.http.framework.memory_limiter import MemoryLimiter
from kernel.protocol.errors import wrong_field

if TYPE_CHECKING:
    from PIL import Image

_ALPHA_THRESHOLD: Final = 128


class SentImages:
    """Takes images out of texts."""

    def __init__(self, max_pixels: int, looking: MemoryLimiter) -> None:
        """`max_pixels`: of an output image. `looking`: for the one image that may be decoded at a time."""
        self._max_pixels = most_pixels(max_pixels)
        self.looking = looking

    def file(self, field: str, text: str) -> bytes:
        """The checked file in a base64 text. Raises: InvalidField, if it cannot be used."""
        if text.lower().startswith(("http://", "https://")):
            raise wrong_field(field, "must be the image itself as base64: this server fetches none")
        try:
            data = from_base64(text)
        except ValueError as error:
            raise wrong_field(field, str(error)) from error
        with self.looking.holding(1):
            fault = fault_of(data, self._max_pixels)
        if fault is not None:
            raise wrong_field(field, fault)
        return data

    def mask(self, field: str, text: str) -> bytes:
        """A mask whose white is painted: of one with an alpha channel, A1111 paints what is opaque.

        Raises: InvalidField, if it cannot be used.
        """
        from PIL import Image

        data = self.file(field, text)
        with self.looking.holding(1), Image.open(BytesIO(data)) as image:
            if image.mode != "RGBA":
                return data
            alpha = image.getchannel("A")
            if alpha.getextrema() == (255, 255):
                return data
            return png_of(alpha.point(lambda value: 255 if value > _ALPHA_THRESHOLD else 0))


def png_of(image: "Image.Image") -> bytes:
    """An image as a file."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()
