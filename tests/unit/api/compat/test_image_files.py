"""Image files within a response count as downloaded once all of it was sent, and not before."""

from pathlib import Path

import pytest

from api.http.compat.image_files import ImageFile, ImageFiles, SentBody
from kernel.protocol.client import ApiAsk, ClaimDownload, DownloadGranted, FinishDownload
from kernel.protocol.errors import BadMessage, ImageGone, SpoonError
from kernel.protocol.ids import ImageId, Ticket
from tests.unit.api.fake_bus import FakeBus

FIRST, SECOND = ImageId("i1"), ImageId("i2")


def granted(name: str) -> DownloadGranted:
    return DownloadGranted(file_name=name, ticket=Ticket("t1"), is_limited=True)


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
def files(bus: FakeBus, tmp_path: Path) -> ImageFiles:
    (tmp_path / "one.png").write_bytes(b"one")
    bus.reactions[ClaimDownload] = granted("one.png")
    return ImageFiles(bus, tmp_path)


def told(bus: FakeBus) -> list[bool]:
    return [one.whole for one in bus.told if isinstance(one, FinishDownload)]


def test_a_file_is_claimed_until_its_response_was_sent(bus: FakeBus, files: ImageFiles) -> None:
    file = files.read(FIRST)
    assert (file.data, told(bus)) == (b"one", [])
    body = SentBody(b"a body", [file])
    assert body.read(3) + body.read() == b"a body"
    assert told(bus) == []
    body.close()
    body.close()
    assert told(bus) == [True]


@pytest.mark.parametrize("sent_bytes", [0, 5])
def test_a_response_that_is_cut_does_not_count(bus: FakeBus, files: ImageFiles, sent_bytes: int) -> None:
    body = SentBody(b"a body", [files.read(FIRST), files.read(SECOND)])
    body.read(sent_bytes)
    body.close()
    assert told(bus) == [False, False]


@pytest.mark.parametrize(("name", "error"), [("two.png", ImageGone), ("../one.png", BadMessage)])
def test_a_file_that_cannot_be_read_is_given_back(
    bus: FakeBus, files: ImageFiles, name: str, error: type[SpoonError]
) -> None:
    bus.reactions[ClaimDownload] = granted(name)
    with pytest.raises(error):
        files.read(FIRST)
    assert told(bus) == [False]


def test_one_image_that_is_gone_gives_back_the_others(bus: FakeBus, files: ImageFiles) -> None:
    def react(ask: ApiAsk) -> DownloadGranted | SpoonError:
        assert isinstance(ask, ClaimDownload)
        return granted("one.png") if ask.image_id == FIRST else ImageGone()

    bus.reactions[ClaimDownload] = react
    with pytest.raises(ImageGone):
        files.read_all([FIRST, SECOND])
    assert told(bus) == [False]


def test_a_body_without_files_tells_nobody() -> None:
    SentBody(b"", []).close()
    sent: list[bool] = []
    body = SentBody(b"", [ImageFile(b"", sent.append)])
    body.close()
    assert sent == [True]
