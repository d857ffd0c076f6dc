"""Pictures that come in are what they are said to be, whole, still and of a sensible size."""

import struct
import zlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.framework.input_images import fault_of, from_base64, mime_of, most_pixels
from tests.unit.api.sample_pictures import JPEG, PNG, PNG_TEXT, WEBP, moving, picture

MAX_PIXELS = 1 << 20


def declared(width_px: int, height_px: int) -> bytes:
    """A PNG of a few bytes that says to be of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1_000)))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("file", "mime"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp"), (b"GIF89a", None)]
)
def test_the_first_bytes_tell_the_type(file: bytes, mime: str | None) -> None:
    assert mime_of(file) == mime


@pytest.mark.parametrize(
    "file",
    [PNG, JPEG, WEBP, picture("JPEG", progressive=True), picture("WEBP", lossless=True), moving("MPO")],
    ids=["png", "jpeg", "webp", "progressive jpeg", "lossless webp", "a camera's jpeg with a second picture"],
)
def test_nothing_is_wrong_with_a_picture(file: bytes) -> None:
    assert fault_of(file, MAX_PIXELS) is None


@pytest.mark.parametrize("file", [b"", b"BM" + bytes(100), b"<svg/>", b"RIFF1234WAVE", b"GIF89a" + bytes(50)])
def test_what_is_no_picture_of_the_three_kinds_is_refused(file: bytes) -> None:
    assert fault_of(file, MAX_PIXELS) == "must be a PNG, JPEG or WebP image"


@pytest.mark.parametrize("file", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_picture_that_is_cut_off_is_damaged(file: bytes, share: float) -> None:
    fault = fault_of(file[: int(len(file) * share)], MAX_PIXELS)
    assert fault is not None
    assert fault.startswith(("is damaged", "must be a PNG"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_moving_picture_is_refused(kind: str) -> None:
    assert fault_of(moving(kind), MAX_PIXELS) == "must be a still image, not an animation"


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((8_000, 8_000), "at most 1048576 pixels"),
        ((50_000, 50_000), "at most 1048576 pixels"),
        ((20_000, 100), "each side must be at most 8192"),
        ((500, 2), "each side must be at least 16"),
    ],
)
def test_a_size_that_is_declared_is_believed_before_anything_is_unpacked(
    size: tuple[int, int], told: str
) -> None:
    fault = fault_of(declared(*size), MAX_PIXELS)
    assert fault is not None
    assert told in fault


def test_a_file_with_fewer_pixels_than_it_says_is_damaged() -> None:
    fault = fault_of(declared(500, 500), MAX_PIXELS)
    assert fault is not None
    assert fault.startswith("is damaged")


def test_a_cameras_picture_goes_in_where_four_megapixels_come_out() -> None:
    assert most_pixels(2048 * 2048) >= 4000 * 3000


@given(
    st.sampled_from([PNG, JPEG, WEBP]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    st.integers(12, 2_000),
)
def test_whatever_the_bytes_there_is_an_answer(file: bytes, flips: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(file[:end])
    for place, value in flips:
        damaged[place % len(damaged)] = value
    fault = fault_of(bytes(damaged), MAX_PIXELS)
    assert fault is None or "\n" not in fault


@pytest.mark.parametrize(
    "text",
    [
        PNG_TEXT,
        PNG_TEXT.rstrip("="),
        f"data:image/png;base64,{PNG_TEXT}",
        f" DATA:image/png;name=a.png;BASE64,{PNG_TEXT}\n",
        "\n".join(PNG_TEXT[at : at + 76] for at in range(0, len(PNG_TEXT), 76)),
        urlsafe_b64encode(PNG).decode(),
    ],
    ids=["plain", "without padding", "data url", "sloppy data url", "in lines", "url alphabet"],
)
def test_base64_is_read_as_people_write_it(text: str) -> None:
    assert from_base64(text) == PNG


@pytest.mark.parametrize("text", ["~~~", "ä", "data:image/png,abc", "YWJ=YWJj", "abcde"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be base64"):
        from_base64(text)


def segments(count: int, marker: bytes = b"\xff\xe1", data: bytes = b"Exif\x00\x00x") -> bytes:
    return (marker + struct.pack(">H", len(data) + 2) + data) * count


def chunks(count: int, kind: bytes) -> bytes:
    """Pieces of a PNG, without anything in them."""
    return (struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))) * count


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (JPEG[:2] + segments(300_000) + JPEG[2:], "too many parts"),
        (JPEG[:2] + b"\xff\xd0" * 300_000 + JPEG[2:], "too many parts"),
        (JPEG[:2] + b"\xff" * 300_000 + JPEG[2:], "too many parts"),
        (JPEG[:20] + b"\x00" * 300_000 + JPEG[20:], "too many parts"),
        (JPEG[:-2] + b"\xff\xda\x00\x02" * 100_000 + JPEG[-2:], "too many scans"),
        (PNG[:33] + chunks(300_000, b"tEXt") + PNG[33:], "too many parts"),
        (PNG[:33] + chunks(300_000, b"IDAT") + PNG[33:], "too many parts"),
    ],
    ids=["exif", "markers", "fill bytes", "junk", "scans", "texts", "empty pixels"],
)
def test_a_file_that_is_all_work_and_no_picture_is_refused_before_it_is_opened(
    file: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.Image.open", None)
    fault = fault_of(file, MAX_PIXELS)
    assert fault is not None
    assert told in fault


@pytest.mark.parametrize(
    "file",
    [
        JPEG[:2] + segments(20) + b"\xff\xff" + JPEG[2:],
        PNG[:33] + chunks(20, b"IDAT") + PNG[33:],
        WEBP + b"ANMF" * 9,
    ],
    ids=["jpeg", "png", "webp"],
)
def test_a_file_of_some_pieces_is_opened(file: bytes) -> None:
    assert fault_of(file, MAX_PIXELS) is None


@pytest.mark.parametrize("text", ["a b " * 1_000_000, "é" * 1_000_000, "=" * 1_000_000, "-" * 1_000_001])
def test_what_is_no_base64_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match="must be base64") as refusal:
        from_base64(text + "!")
    assert len(str(refusal.value)) < 300
