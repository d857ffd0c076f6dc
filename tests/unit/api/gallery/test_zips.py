"""/v1/images/zip"""

from io import BytesIO
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment
from zipfile import ZIP_STORED, ZipFile

import falcon.testing
import pytest

from api.http.contract.responses import moment
from api.http.framework.deferral import OpenStream, Streaming
from api.http.gallery.archive import MOST_IMAGES, MOST_ZIPS
from api.http.gallery.zip_pieces import PIECE_BYTES, Member, Missing, ZipMaker
from kernel.protocol.client import ApiAsk, ClaimDownload, DownloadGranted, FinishDownload
from kernel.protocol.enums import GONE_TEXTS, GoneReason, Role
from kernel.protocol.errors import ImageBusy, ManagerUnreachable, SpoonError
from kernel.protocol.ids import ImageId, Ticket
from tests.unit.api.stage import NOW_MS, Stage, fields_of
from tests.unit.api.test_access import bearer

ZIP: Final = "/v1/images/zip"


def content(number: int) -> bytes:
    """Of an image, some are longer than a piece."""
    return bytes([number]) * (PIECE_BYTES // 2 * number + 1)


@pytest.fixture(autouse=True)
def images(stage: Stage) -> None:
    stage.database.add_engine("e1")
    for number in range(6):
        stage.database.add_job(number, f"j{number}")
        stage.database.add_image(f"i{number}", f"j{number}", tags='["best"]' if number < 3 else "[]")
        (stage.settings.images.folder / f"i{number}.png").write_bytes(content(number))

    def granted(ask: ApiAsk) -> DownloadGranted:
        assert isinstance(ask, ClaimDownload)
        name = f"{ask.image_id}.png"
        return DownloadGranted(ticket=Ticket(f"t-{ask.image_id}"), file_name=name, is_limited=False)

    stage.bus.reactions[ClaimDownload] = granted


def finished(*ids: str, whole: bool = True) -> list[FinishDownload]:
    return [FinishDownload(image_id=ImageId(one), ticket=Ticket(f"t-{one}"), whole=whole) for one in ids]


def unpacked(result: falcon.testing.Result) -> dict[str, bytes]:
    assert result.status_code == 200, result.text
    with ZipFile(BytesIO(result.content)) as zipped:
        assert zipped.testzip() is None
        assert all(one.compress_type == ZIP_STORED for one in zipped.infolist())
        assert len(set(zipped.namelist())) == len(zipped.namelist())
        return {name: zipped.read(name) for name in zipped.namelist()}


def test_a_zip_has_the_files_as_they_are_and_each_counts_as_a_download(stage: Stage) -> None:
    result = stage.get(ZIP, query_string="image_ids=i1,i3,i5,i1")
    assert unpacked(result) == {f"i{number}.png": content(number) for number in (1, 3, 5)}
    assert result.headers["content-type"] == "application/zip"
    disposition = 'attachment; filename="images-19700101-000010.zip"'
    assert result.headers["content-disposition"] == disposition
    assert stage.bus.told == finished("i1", "i3", "i5")


def test_a_zip_of_what_a_search_finds_leaves_out_what_is_gone(stage: Stage) -> None:
    stage.database.set("image", "image_id", "i1", gone_reason="deleted", gone_at_ms=1)
    stage.database.set("image", "image_id", "i2", expires_at_ms=NOW_MS)
    assert set(unpacked(stage.get(ZIP, query_string="tag=best"))) == {"i0.png"}
    assert set(unpacked(stage.get(ZIP, query_string="job_id=j5&gone=false"))) == {"i5.png"}
    assert len(unpacked(stage.get(ZIP))) == 4


def test_what_is_missing_is_named_with_the_reason(stage: Stage) -> None:
    stage.database.set("image", "image_id", "i1", gone_reason="deleted", gone_at_ms=1)
    (stage.settings.images.folder / "i2.png").unlink()
    granted = stage.bus.reactions[ClaimDownload]

    def answer(ask: ApiAsk) -> DownloadGranted | SpoonError:
        assert isinstance(ask, ClaimDownload)
        assert callable(granted)
        found = ImageBusy() if ask.image_id == "i3" else granted(ask)
        assert isinstance(found, DownloadGranted | SpoonError)
        return found

    stage.bus.reactions[ClaimDownload] = answer
    found = unpacked(stage.get(ZIP, query_string="image_ids=i1,i2,i3,i4,i9"))
    assert set(found) == {"i4.png", "missing.txt"}
    assert found["missing.txt"].decode().splitlines() == [
        f"i1: {GONE_TEXTS[GoneReason.DELETED]}",
        "i9: no image has this id",
        "i2: the file no longer exists",
        f"i3: {ImageBusy().detail}",
    ]
    assert stage.bus.told == finished("i2", whole=False) + finished("i4")


def test_a_manager_that_does_not_answer_is_asked_once(stage: Stage) -> None:
    stage.bus.reactions[ClaimDownload] = ManagerUnreachable()
    found = unpacked(stage.get(ZIP, query_string="image_ids=i1,i2,i3"))
    assert (set(found), len(found["missing.txt"].splitlines()), len(stage.bus.asked)) == (
        {"missing.txt"},
        3,
        1,
    )


def test_a_zip_without_any_image_is_an_error(stage: Stage) -> None:
    stage.database.set("image", "image_id", "i1", gone_reason="deleted", gone_at_ms=1)
    for query, status in (("image_ids=i1,i9", 410), ("image_ids=i9", 404), ("tag=none", 404)):
        assert stage.get(ZIP, query_string=query).status_code == status
    assert stage.bus.asked == []


def test_a_zip_has_a_bounded_number_of_files(stage: Stage) -> None:
    too_many = ",".join(f"x{number}" for number in range(MOST_IMAGES + 1))
    assert list(fields_of(stage.get(ZIP, query_string=f"image_ids={too_many}"))) == ["image_ids"]
    with stage.database.connection:
        for number in range(MOST_IMAGES - 5):
            stage.database.add_image(f"x{number}", "j0")
    result = stage.get(ZIP)
    assert (result.status_code, stage.bus.asked) == (422, [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("image_ids=i1&tag=best", "tag"),
        ("image_ids=i1&width=512", "width"),
        ("image_ids=i1,,i2", "image_ids"),
        ("image_ids=", "image_ids"),
        ("gone=true", "gone"),
        ("limit=5", "limit"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field(stage: Stage, query: str, field: str) -> None:
    assert list(fields_of(stage.get(ZIP, query_string=query))) == [field]


def test_only_ones_own_images_are_in_a_zip(stage: Stage) -> None:
    headers = bearer(stage.add_key("alice", Role.USER))
    stage.database.add_job(7, "j7", key_id=stage.keys["alice"])
    stage.database.add_image("i7", "j7")
    (stage.settings.images.folder / "i7.png").write_bytes(content(7))
    assert set(unpacked(stage.get(ZIP, headers=headers))) == {"i7.png"}
    named = unpacked(stage.get(ZIP, query_string="image_ids=i7,i2", headers=headers))
    assert named["missing.txt"] == b"i2: no image has this id\n"
    assert stage.get(ZIP, query_string="image_ids=i2", headers=headers).status_code == 404


def test_head_claims_nothing(stage: Stage) -> None:
    assert stage.call("HEAD", ZIP, query_string="image_ids=i1").status_code == 200
    assert stage.bus.asked == []


def begun(stage: Stage) -> list[OpenStream]:
    """So many zips as there may be, each with a client that has got the first piece."""
    streams: list[OpenStream] = []

    def client(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = stage.app(environ, start_response)
        with pytest.raises(Streaming) as streaming:
            list(body)
        streams.append(streaming.value.stream)
        return []

    for _ in range(MOST_ZIPS):
        falcon.testing.simulate_request(client, "GET", ZIP, query_string="image_ids=i5,i4", host="localhost")
    return streams


def test_so_many_zips_are_sent_at_once_and_a_client_that_leaves_makes_room(stage: Stage) -> None:
    streams = begun(stage)
    assert stage.get(ZIP).status_code == 429
    streams[0].drop()
    assert stage.get(ZIP).status_code == 200
    for stream in streams:
        stream.drop()


def test_a_client_that_leaves_has_not_downloaded_the_file_it_was_being_sent(stage: Stage) -> None:
    stream, *others = begun(stage)
    assert stage.bus.told == []
    while not stage.bus.told:
        stream.take()
    assert stage.bus.told == finished("i5")
    stream.drop()
    assert stage.bus.told == finished("i5") + finished("i4", whole=False)
    for one in others:
        one.drop()
    assert stage.bus.told[2:] == finished(*["i5"] * len(others), whole=False)


def test_a_file_is_counted_when_what_follows_it_is_asked_for(stage: Stage) -> None:
    missing: list[Missing] = []
    member = Member(ImageId("i1"), "i1.png", moment(0))
    pieces = ZipMaker(stage.bus, stage.settings.images.folder).pieces([member], missing)
    assert content(1)[:100] in next(pieces)
    next(pieces)
    assert stage.bus.told == [], "its last piece may be on the way"
    next(pieces)
    assert stage.bus.told == finished("i1")
