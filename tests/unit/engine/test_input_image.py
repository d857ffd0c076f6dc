"""Pictures that come along with a job: a sane file becomes the right pixels, any other one a clear error."""

from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from engine_worker.engine.images.input_image import (
    MAX_PROFILE_BYTES,
    decode_image,
    decode_mask,
    decode_reference,
    fit,
)
from kernel.protocol.enums import ImageFit, MaskMode
from kernel.protocol.errors import JobRejected

NAME = "reference image"


def as_file(image: Image.Image, file_type: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, file_type, **options)
    return file.getvalue()


def half_and_half() -> Image.Image:
    """4 x 2: left red, right transparent."""
    image = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (2, 0, 4, 2))
    return image


def test_what_is_transparent_lies_on_white() -> None:
    picture = decode_image(as_file(half_and_half()), NAME)
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (255, 0, 0)
    assert picture.getpixel((3, 1)) == (255, 255, 255)


def test_a_mask_is_black_where_it_is_transparent() -> None:
    image = Image.new("LA", (2, 1), (255, 255))
    image.putpixel((1, 0), (255, 0))
    assert np.array(decode_mask(as_file(image), "mask")).tolist() == [[255, 0]]


def test_a_palette_with_a_transparent_colour_is_read_as_such() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 0), 1)
    picture = decode_image(as_file(image, transparency=0), NAME)
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (255, 0, 0)]


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 0x4000, 0xFFFF]], dtype=np.uint16))
    assert np.array(decode_mask(as_file(deep), "mask")).tolist() == [[0, 0x40, 0xFF]]
    assert decode_image(as_file(deep), NAME).getpixel((1, 0)) == (0x40, 0x40, 0x40)


def test_cmyk_and_one_bit_become_rgb() -> None:
    cmyk = decode_image(as_file(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), NAME)
    assert np.abs(np.array(cmyk).astype(int) - (255, 0, 0)).max() < 8
    assert decode_image(as_file(Image.new("1", (2, 2), 1)), NAME).getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_stands_upright() -> None:
    lying = Image.new("RGB", (4, 2), (0, 0, 0))
    lying.paste((255, 255, 255), (0, 0, 2, 2))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn by 90 degrees clockwise to see it upright
    picture = decode_image(as_file(lying, exif=exif), NAME)
    assert picture.size == (2, 4)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert picture.getpixel((0, 3)) == (0, 0, 0)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    broken = as_file(Image.new("L", (3000, 3000)))[:60]  # its header alone
    with pytest.raises(JobRejected, match="reference image is too large: 3000 x 3000") as caught:
        decode_image(broken, NAME, max_pixels=1_000_000)
    assert "1,000,000 pixels" in caught.value.detail


def test_a_bomb_is_refused() -> None:
    header = as_file(Image.new("L", (16, 16)))
    bomb = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    with pytest.raises(JobRejected, match=r"mask is (too large|not a PNG)"):
        decode_mask(bomb, "mask")


@pytest.mark.parametrize("file_type", ["BMP", "GIF", "TIFF", "PDF"])
def test_other_formats_are_not_tried(file_type: str) -> None:
    with pytest.raises(JobRejected, match="not a PNG, JPEG or WebP file"):
        decode_image(as_file(Image.new("RGB", (4, 4)), file_type), NAME)


@pytest.mark.parametrize("file_type", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_breaks_off_is_refused(file_type: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = as_file(Image.fromarray(noise), file_type)
    with pytest.raises(JobRejected, match="reference image is"):
        decode_image(data[: len(data) // 2], NAME)


FILES = [as_file(half_and_half().convert(mode), kind) for mode, kind in [("RGBA", "PNG"), ("RGB", "JPEG")]]
FILES += [as_file(half_and_half(), "WEBP"), as_file(half_and_half().convert("P"), "PNG")]


@given(
    data=st.sampled_from(FILES),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_file_is_a_picture_or_an_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with suppress(JobRejected):
        assert decode_image(bytes(damaged), NAME, max_pixels=10_000).mode == "RGB"


@pytest.mark.parametrize("how", list(ImageFit), ids=str)
def test_a_picture_gets_the_size_of_the_job(how: ImageFit) -> None:
    assert fit(Image.new("RGB", (50, 20)), 24, 32, how).size == (24, 32)
    assert fit(Image.new("L", (20, 50)), 24, 32, how).size == (24, 32)


def test_crop_keeps_the_middle_pad_the_whole_stretch_the_edges() -> None:
    image = Image.new("RGB", (40, 20), (255, 255, 255))
    image.paste((255, 0, 0), (0, 0, 8, 20))
    crop, pad, stretch = (fit(image, 20, 20, how) for how in (ImageFit.CROP, ImageFit.PAD, ImageFit.STRETCH))
    assert crop.getpixel((0, 10)) == (255, 255, 255)
    assert (pad.getpixel((0, 0)), pad.getpixel((0, 10))) == ((0, 0, 0), (255, 0, 0))
    assert (stretch.getpixel((0, 0)), stretch.getpixel((19, 0))) == ((255, 0, 0), (255, 255, 255))


def profile_of(space: str = "sRGB", gamma: float = 2.2) -> bytes:
    """A color profile: RGB with red and green exchanged, or gray with a gamma, made of its tables."""
    if space == "GRAY":
        return icc_file(b"GRAY", {b"kTRC": curve(gamma), b"wtpt": xyz(0.9642, 1.0, 0.8249)})
    red, green, blue = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    tags = {b"rXYZ": xyz(*green), b"gXYZ": xyz(*red), b"bXYZ": xyz(*blue), b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    return icc_file(b"RGB ", tags | {name: curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")})


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(round(value * 65_536).to_bytes(4, "big") for value in values)


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + b"\0\0"


def icc_file(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile (ICC.1, section 7): a header of 128 bytes, the table of its tags, and these."""
    tags = tags | {b"desc": b"desc\0\0\0\0\0\0\0\x05test\0" + bytes(79)}
    table, body, at = len(tags).to_bytes(4, "big"), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + (at + len(body)).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        body += padded
    head = b"\0\0\0\0lcms\x02\x10\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += xyz(0.9642, 1.0, 0.8249)[8:] + bytes(48)
    size = len(head) + len(table) + len(body)
    return size.to_bytes(4, "big") + head[4:] + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colors_are_those_of_the_embedded_profile(mode: str) -> None:
    image = Image.new("RGB", (16, 16), (250, 20, 20)).convert(mode, palette=Image.Palette.ADAPTIVE)
    found = decode_reference(as_file(image, icc_profile=profile_of()), NAME)
    red, green, blue = found.image.getpixel((3, 3))
    assert green > 240 > 60 > max(red, blue), "red and green are exchanged in this profile"
    assert found.warnings == ()
    assert found.image.mode == "RGB"


def test_transparency_survives_a_profile() -> None:
    image = half_and_half()
    found = decode_reference(as_file(image, icc_profile=profile_of()), NAME)
    assert found.alpha is not None
    assert np.asarray(found.alpha).tolist() == [[255, 255, 0, 0]] * 2
    assert found.image.getpixel((3, 0)) == (255, 255, 255)


def test_gray_has_a_profile_of_its_own() -> None:
    data = as_file(Image.new("L", (8, 8), 128), icc_profile=profile_of("GRAY", gamma=1.0))
    found = decode_reference(data, NAME)
    level, *_ = found.image.getpixel((1, 1))
    assert 183 < level < 193, "half of the light is 188 in sRGB"


def test_an_srgb_profile_changes_no_bit() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    data = as_file(noise, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    found = decode_reference(data, NAME)
    assert (found.image.tobytes(), found.warnings) == (noise.tobytes(), ())


@pytest.mark.parametrize(
    "profile",
    [b"no profile", profile_of()[:150], profile_of("GRAY"), profile_of() + bytes(MAX_PROFILE_BYTES)],
    ids=["text", "cut", "other-space", "large"],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_warning(profile: bytes) -> None:
    image = Image.new("RGB", (16, 16), (250, 20, 20))
    found = decode_reference(as_file(image, "JPEG", icc_profile=profile, quality=100), NAME)
    (warning,) = found.warnings
    assert warning.startswith("the color profile of the reference image was ignored: ")
    plain = decode_image(as_file(image, "JPEG", quality=100), NAME)
    assert found.image.tobytes() == plain.tobytes()


def test_a_profile_in_cmyk_that_is_broken_leaves_the_plain_conversion() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = decode_reference(as_file(image, "JPEG", icc_profile=profile_of()), NAME)
    assert "it is for RGB, the image is CMYK" in found.warnings[0]
    assert np.abs(np.array(found.image).astype(int) - (255, 0, 0)).max() < 8


def test_opaque_alpha_is_no_transparency() -> None:
    assert decode_reference(as_file(Image.new("RGBA", (4, 4), (1, 2, 3, 255))), NAME).alpha is None


@pytest.mark.parametrize(
    ("mode", "marked"),
    [
        (MaskMode.LUMINANCE, [255, 0, 0]),
        (MaskMode.INVERTED, [0, 255, 255]),
        (MaskMode.ALPHA, [0, 0, 255]),
    ],
)
def test_what_a_mask_marks_depends_on_its_mode(mode: MaskMode, marked: list[int]) -> None:
    """White, black, and transparent white."""
    image = Image.new("LA", (3, 1), (255, 255))
    image.putpixel((1, 0), (0, 255))
    image.putpixel((2, 0), (255, 0))
    assert np.asarray(decode_mask(as_file(image), "mask", mode)).tolist() == [marked]


def test_without_an_alpha_channel_nothing_is_transparent() -> None:
    found = decode_mask(as_file(Image.new("L", (2, 1), 255)), "mask", MaskMode.ALPHA)
    assert np.asarray(found).tolist() == [[0, 0]]
