"""/v1/images/{image_id}/infotext"""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kernel.protocol.enums import GoneReason
from tests.unit.api.stage import Stage

INFOTEXT = "a cat\nSteps: 20, Seed: 0"


@pytest.fixture
def file(stage: Stage) -> Path:
    stage.database.add_engine("e1")
    stage.database.add_job(1, "j1")
    stage.database.add_image("i1", "j1")
    texts = PngInfo()
    texts.add_text("parameters", INFOTEXT)
    made = BytesIO()
    Image.new("RGB", (8, 8)).save(made, "PNG", pnginfo=texts)
    file = stage.settings.images.folder / "i1.png"
    file.write_bytes(made.getvalue())
    return file


def test_the_infotext_of_a_file_is_read_without_a_download(stage: Stage, file: Path) -> None:
    assert stage.get("/v1/images/i1/infotext").json == {"infotext": INFOTEXT}
    assert (stage.bus.asked, stage.bus.told) == ([], [])


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + b"x" * 99])
def test_a_file_without_an_infotext_has_none(stage: Stage, file: Path, data: bytes) -> None:
    file.write_bytes(data)
    assert stage.get("/v1/images/i1/infotext").json == {"infotext": None}


def test_an_image_that_is_gone_has_no_file_to_read(stage: Stage, file: Path) -> None:
    file.unlink()
    assert stage.get("/v1/images/i1/infotext").status_code == 410
    stage.database.set("image", "image_id", "i1", gone_reason=GoneReason.DELETED, gone_at_ms=1)
    assert stage.get("/v1/images/i1/infotext").status_code == 410
    assert stage.get("/v1/images/i9/infotext").status_code == 404
