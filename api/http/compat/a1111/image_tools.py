"""Images that are only read or changed: their infotext, and their size."""

from io import BytesIO
from typing import TYPE_CHECKING, Final

import falcon

from api.http.compat.a1111.answers import ExtrasImage, ExtrasImages, PngInfo
from api.http.compat.a1111.lists import NO_UPSCALER, RESAMPLERS
from api.http.compat.a1111.reading import LenientReader, strange_parameters
from api.http.compat.a1111.requests import Extras, ExtrasOfMany, ExtrasOfOne, PngInfoInput
from api.http.compat.a1111.sending import send_told
from api.http.compat.a1111.sent_images import SentImages, png_of
from api.http.infotext.a1111 import fields_of
from api.http.infotext.image_texts import USER_COMMENT, texts_in
from kernel.protocol.errors import NotSupported, of_field, wrong_field

if TYPE_CHECKING:
    from PIL import Image

BY_SIZE: Final = 1
"""`resize_mode`: to a width and height, instead of by a factor."""
_INFOTEXT: Final = "parameters"
MAX_IMAGES: Final = 16


class ImageTools:
    """Infotexts and plain resampling: nothing is made, so that there is no job."""

    def __init__(self, images: SentImages, max_body_bytes: int, max_pixels: int) -> None:
        self._images = images
        self._max_pixels = max_pixels
        self._info = LenientReader(PngInfoInput, max_body_bytes)
        self._one = LenientReader(ExtrasOfOne, max_body_bytes)
        self._many = LenientReader(ExtrasOfMany, max_body_bytes)

    def show_info(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/png-info"""
        asked, told = self._info.read(req)
        data = self._images.file("image", asked.image)
        try:
            texts = texts_in(data)
        except ValueError as error:
            raise wrong_field("image", str(error)) from error
        text = texts.get(_INFOTEXT) or texts.get(USER_COMMENT, "")
        items = {_INFOTEXT: text, **texts} if text else texts
        told += strange_parameters(req)
        send_told(resp, PngInfo(info=text, items=items, parameters=fields_of(text) if text else {}), told)

    def change_one(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/extra-single-image"""
        asked, told = self._one.read(req)
        resample = _resampler_of(asked, told)
        image = self._changed("image", asked.image, asked, resample)
        send_told(resp, ExtrasImage(html_info="", image=image), [*told, *strange_parameters(req)])

    def change_many(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/extra-batch-images"""
        asked, told = self._many.read(req)
        resample = _resampler_of(asked, told)
        if len(asked.image_list) > MAX_IMAGES:
            raise wrong_field("imageList", f"must have at most {MAX_IMAGES} images")
        found = tuple(
            self._changed(f"imageList[{number}].data", one.data, asked, resample)
            for number, one in enumerate(asked.image_list)
        )
        send_told(resp, ExtrasImages(html_info="", images=found), [*told, *strange_parameters(req)])

    def _changed(self, field: str, text: str, asked: Extras, resample: str) -> bytes:
        """The file of an image at another size; without a resampler as it is."""
        from PIL import Image

        data = self._images.file(field, text)
        if resample == NO_UPSCALER:
            return data
        with self._images.looking.holding(1), Image.open(BytesIO(data)) as image:
            scaled, kept = _sizes(image.size, asked)
            if max(scaled[0] * scaled[1], kept[0] * kept[1]) > self._max_pixels:
                raise wrong_field(
                    "upscaling_resize", f"the image must have at most {self._max_pixels} pixels"
                )
            how = Image.Resampling.LANCZOS if resample == "Lanczos" else Image.Resampling.NEAREST
            return png_of(_cut(_plain(image).resize(scaled, how), kept))


def _plain(image: "Image.Image") -> "Image.Image":
    """An image of bands that can be resampled."""
    return image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGBA")


def _resampler_of(asked: Extras, told: list[str]) -> str:
    """The name of the resampler. Raises: NotSupported, for what this server does not do."""
    if asked.gfpgan_visibility > 0 or asked.codeformer_visibility > 0:
        told.append("gfpgan_visibility and codeformer_visibility have no effect: faces are not restored")
    if asked.upscaler_2 not in (NO_UPSCALER, "") and asked.extras_upscaler_2_visibility > 0:
        told.append("upscaler_2 has no effect")
    name = asked.upscaler_1 or NO_UPSCALER
    if name not in (NO_UPSCALER, *RESAMPLERS):
        known = ", ".join((NO_UPSCALER, *RESAMPLERS))
        raise of_field(NotSupported, "upscaler_1", f"not supported: the upscalers here are {known}")
    return name


Size = tuple[int, int]


def _sizes(size: Size, asked: Extras) -> tuple[Size, Size]:
    """To which size an image is scaled, and to which it is cut then."""
    if asked.resize_mode != BY_SIZE:
        scaled = _times(size, asked.upscaling_resize)
        return scaled, scaled
    wanted = asked.upscaling_resize_w, asked.upscaling_resize_h
    factors = wanted[0] / size[0], wanted[1] / size[1]
    if asked.upscaling_crop:
        return _times(size, max(factors)), wanted
    scaled = _times(size, min(factors))
    return scaled, scaled


def _times(size: Size, factor: float) -> Size:
    if not 0 < factor <= 100:
        raise wrong_field("upscaling_resize", "must be more than 0 and at most 100")
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _cut(image: "Image.Image", size: Size) -> "Image.Image":
    """The middle of an image."""
    if image.size == size:
        return image
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))
