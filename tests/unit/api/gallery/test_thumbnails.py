"""/v1/images/{image_id}/thumbnail"""

import hashlib
import threading
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from kernel.protocol.client import Changed
from kernel.protocol.enums import GONE_TEXTS, ChangeKind, GoneReason, Role
from kernel.protocol.ids import EventSeq
from tests.unit.api.stage import NOW_MS, Stage, fields_of
from tests.unit.api.test_access import bearer

THUMBNAIL = "/v1/images/i1/thumbnail"


def image_file(size: tuple[int, int] = (600, 300), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """An image with a gradient, and a text as ours have."""
    gradient = Image.linear_gradient("L").resize(size)
    image = gradient.convert(mode)
    if mode == "RGBA":
        image.putalpha(gradient)
    made = BytesIO()
    image.save(made, kind)
    return made.getvalue()


def store(stage: Stage, data: bytes) -> str:
    """Let this be the file of the image. Returns: its digest."""
    sha256 = hashlib.sha256(data).hexdigest()
    stage.database.set("image", "image_id", "i1", size_bytes=len(data), sha256=sha256)
    (stage.settings.images.folder / "i1.png").write_bytes(data)
    return sha256


@pytest.fixture(autouse=True)
def an_image(stage: Stage) -> None:
    stage.database.add_engine("e1")
    stage.database.add_job(1, "j1")
    stage.database.add_image("i1", "j1")
    store(stage, image_file())


def kept(stage: Stage) -> list[Path]:
    return sorted(stage.settings.thumbnails.folder.glob("*"))


@pytest.mark.parametrize(
    ("query", "made", "size"),
    [
        ("", (600, 300), (256, 128)),
        ("size=256", (300, 600), (128, 256)),
        ("size=512", (600, 300), (512, 256)),
        ("size=512", (40, 20), (40, 20)),
        ("", (3, 900), (1, 256)),
    ],
)
@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("RGBA", "WEBP"), ("RGB", "JPEG"), ("L", "PNG")])
def test_a_thumbnail_is_a_small_webp_in_the_shape_of_the_image(
    stage: Stage, query: str, made: tuple[int, int], size: tuple[int, int], mode: str, kind: str
) -> None:
    sha256 = store(stage, image_file(made, mode, kind))
    result = stage.get(THUMBNAIL, query_string=query)
    assert (result.status_code, result.headers["content-type"]) == (200, "image/webp")
    with Image.open(BytesIO(result.content)) as image:
        assert (image.format, image.size) == ("WEBP", size)
        assert ("A" in image.getbands()) is (mode == "RGBA")
    assert result.headers["etag"] == f'"{sha256}-{query[5:] or 256}"'
    assert "private" in result.headers["cache-control"]
    assert (stage.bus.asked, stage.bus.told) == ([], []), "nobody has downloaded anything"


def test_nothing_of_how_the_image_was_made_is_in_it(stage: Stage) -> None:
    image = Image.new("RGB", (600, 300))
    exif = image.getexif()
    exif[0x010E] = "secret prompt"
    made = BytesIO()
    image.save(made, "WEBP", exif=exif)
    assert b"secret prompt" in made.getvalue()
    store(stage, made.getvalue())
    assert b"secret prompt" not in stage.get(THUMBNAIL).content


def test_it_is_made_once_and_then_kept(stage: Stage) -> None:
    first = stage.get(THUMBNAIL).content
    (stage.settings.images.folder / "i1.png").write_bytes(b"not looked at again")
    assert stage.get(THUMBNAIL).content == first
    assert stage.get(THUMBNAIL, query_string="size=512").status_code == 404
    assert stage.call("HEAD", THUMBNAIL).headers["content-length"] == str(len(first))


def test_what_the_client_has_is_not_sent(stage: Stage) -> None:
    etag = stage.get(THUMBNAIL).headers["etag"]
    for headers, status in (({"If-None-Match": etag}, 304), ({"If-None-Match": '"x"'}, 200)):
        assert stage.get(THUMBNAIL, headers=headers).status_code == status
    large = stage.get(THUMBNAIL, query_string="size=512", headers={"If-None-Match": etag})
    assert large.status_code == 200


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"", lambda data: b"RIFFxxxxWEBP"])
def test_a_file_that_is_torn_or_foreign_is_made_again(stage: Stage, spoil: object) -> None:
    assert callable(spoil)
    first = stage.get(THUMBNAIL).content
    (file,) = kept(stage)
    file.write_bytes(spoil(file.read_bytes()))
    assert stage.get(THUMBNAIL).content == first
    file.write_bytes(spoil(file.read_bytes()))
    store(stage, image_file((30, 30)))
    assert len(stage.get(THUMBNAIL).content) != len(first), "the file under its name is of another image"


@pytest.mark.parametrize("reason", list(GoneReason))
def test_of_an_image_that_is_gone_there_is_none_any_more(stage: Stage, reason: GoneReason) -> None:
    etag = stage.get(THUMBNAIL).headers["etag"]
    stage.database.set("image", "image_id", "i1", gone_reason=reason, gone_at_ms=3_000)
    result = stage.get(THUMBNAIL, headers={"If-None-Match": etag})
    assert (result.status_code, result.json["code"]) == (410, "image_gone")
    assert result.json["detail"] == GONE_TEXTS[reason]
    assert kept(stage) == []


def test_an_image_whose_time_is_over_or_whose_file_is_missing_has_none(stage: Stage) -> None:
    stage.database.set("image", "image_id", "i1", expires_at_ms=NOW_MS)
    assert stage.get(THUMBNAIL).status_code == 410
    stage.database.set("image", "image_id", "i1", expires_at_ms=None)
    (stage.settings.images.folder / "i1.png").unlink()
    assert stage.get(THUMBNAIL).status_code == 410


def test_the_managers_word_that_an_image_is_gone_removes_it(stage: Stage) -> None:
    stage.get(THUMBNAIL)
    stage.get(THUMBNAIL, query_string="size=512")
    assert len(kept(stage)) == 2
    for seq, state in enumerate(("stored", "deleted"), start=1):
        assert len(kept(stage)) == 2
        change = Changed(seq=EventSeq(seq), kind=ChangeKind.IMAGE, id="i1", state=state, at_ms=0)
        stage.hub.publish(change)
    stage.hub.close()
    for thread in threading.enumerate():
        if thread.name == "thumbnails":
            thread.join()
    assert kept(stage) == []


@pytest.mark.parametrize("data", [b"", b"no image", image_file()[:200], image_file(kind="GIF")])
def test_a_file_that_is_no_image_has_no_thumbnail(stage: Stage, data: bytes) -> None:
    store(stage, data)
    result = stage.get(THUMBNAIL)
    assert (result.status_code, result.json["code"]) == (404, "no_thumbnail")
    assert kept(stage) == []


def test_a_file_that_claims_to_be_huge_is_not_decoded(stage: Stage) -> None:
    made = BytesIO()
    Image.new("1", (9_000, 8_000)).save(made, "PNG")
    store(stage, made.getvalue())
    assert stage.get(THUMBNAIL).json["code"] == "no_thumbnail"


@pytest.mark.parametrize("size", ["0", "257", "1024", "x", "null"])
def test_there_are_few_sizes(stage: Stage, size: str) -> None:
    result = stage.get(THUMBNAIL, query_string=f"size={size}")
    assert (result.status_code, list(fields_of(result))) == (422, ["size"])


def test_only_who_sees_the_image_sees_its_thumbnail(stage: Stage) -> None:
    for name, role in (("alice", Role.USER), ("bob", Role.USER), ("eve", Role.VIEWER)):
        headers = bearer(stage.add_key(name, role))
        stage.database.set("job", "job_id", "j1", key_id=stage.keys["alice"])
        assert stage.get(THUMBNAIL, headers=headers).status_code == (404 if name == "bob" else 200)


def test_a_folder_that_cannot_be_used_only_costs_time(stage: Stage) -> None:
    stage.settings.thumbnails.folder.write_text("a file")
    assert [stage.get(THUMBNAIL).status_code for _ in range(2)] == [200, 200]
