"""From pixels to the bytes of a picture file that carries its recipe."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from kernel.protocol.vocabulary import ImageFileType

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3), red green blue."""

MIMES = {
    ImageFileType.PNG: "image/png",
    ImageFileType.JPEG: "image/jpeg",
    ImageFileType.WEBP: "image/webp",
}
_PNG_KEYWORD = "parameters"
# Above level 4 zlib takes several times as long and saves little on pictures full of texture.
_PNG_COMPRESSION = 4
# Exif 2.32, 4.6.5: UserComment opens with the name of its character code, padded to eight bytes.
_EXIF_UNICODE = b"UNICODE\x00"
# A JPEG's Exif block holds 64 KiB; a recipe beyond that (30,000 letters) is cut rather than the picture lost.
_MAX_COMMENT_BYTES = 65_000


def encode(pixels: Pixels, file_type: ImageFileType, quality: int, recipe: str) -> bytes:
    """The picture as a file. `quality` (1 to 100) counts for JPEG and WEBP."""
    image = Image.fromarray(pixels)
    file = BytesIO()
    match file_type:
        case ImageFileType.PNG:
            text = PngInfo()
            text.add_text(_PNG_KEYWORD, recipe)
            image.save(file, "PNG", pnginfo=text, compress_level=_PNG_COMPRESSION)
        case ImageFileType.JPEG:
            image.save(file, "JPEG", quality=quality, exif=_exif(recipe))
        case ImageFileType.WEBP:
            image.save(file, "WEBP", quality=quality, exif=_exif(recipe))
    return file.getvalue()


def _exif(recipe: str) -> Image.Exif:
    exif = Image.Exif()
    comment = _EXIF_UNICODE + recipe.encode("utf-16-be")[:_MAX_COMMENT_BYTES]
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif
