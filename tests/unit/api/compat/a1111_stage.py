"""What the tests of A1111's routes have in common: a checkpoint, a job that ends at once, and its image."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import falcon
import falcon.testing
import pytest
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from api.http.framework.deferral import RESUMED, Parked
from kernel.protocol.client import ClaimDownload, DownloadGranted, SubmitJob
from kernel.protocol.specs import JobRequest, JobSpec
from tests.unit.api.fake_bus import accepted
from tests.unit.api.stage import Stage
from tests.unit.views.database import SPEC

TEXTS = "/sdapi/v1/txt2img"
IMAGES = "/sdapi/v1/img2img"
INFOTEXT = "a cat\nSteps: 20, Sampler: Euler, Seed: 0"
WARNINGS = "X-Spoon-Warnings"


def png(mode: str = "RGB", size: tuple[int, int] = (16, 16), color: Any = "white", text: str = "") -> bytes:
    info = PngInfo()
    if text:
        info.add_text("parameters", text)
    file = BytesIO()
    Image.new(mode, size, color).save(file, "PNG", pnginfo=info)
    return file.getvalue()


IMAGE = png(text=INFOTEXT)


def add_checkpoint(stage: Stage, model_id: str = "m1", name: str = "dreams", **values: Any) -> None:
    uri = f"file:///models/{name}.safetensors"
    stage.database.add_model(
        model_id, **{"name": name, "uri": uri, "sha256": "abcdef0123" + "0" * 54, **values}
    )


def let_jobs_end(stage: Stage, spec: JobSpec = SPEC, *, count: int = 1, **values: Any) -> None:
    """Every job is j1, which has ended, with this many images."""
    ids = [f"i{number}" for number in range(count)]
    stage.database.add_job(
        1,
        "j1",
        replace(spec, count=max(1, count)),
        **{"status": "finished", "finished_at_ms": 2_000, "image_ids": str(ids).replace("'", '"'), **values},
    )
    for number, image_id in enumerate(ids):
        add_image(stage, image_id, seed=spec.seed + number)
    stage.bus.reactions[SubmitJob] = accepted("j1", *ids)


def add_image(stage: Stage, image_id: str, **values: Any) -> None:
    """An image of the job j1, with its file."""
    size = {"size_bytes": len(IMAGE), "width_px": 16, "height_px": 16}
    stage.database.add_image(image_id, "j1", **size, **values)
    (stage.settings.images.folder / f"{image_id}.png").write_bytes(IMAGE)
    stage.bus.reactions[ClaimDownload] = _granted


def let_jobs_wait(stage: Stage, seq: int = 1, **values: Any) -> None:
    """The next job is one that is open."""
    stage.database.add_job(seq, f"j{seq}", **values)
    stage.bus.reactions[SubmitJob] = accepted(f"j{seq}")


def _granted(ask: Any) -> DownloadGranted:
    return DownloadGranted(ticket=1, file_name=f"{ask.image_id}.png", is_limited=False)


def begin(stage: Stage, path: str = TEXTS, json: Mapping[str, Any] | None = None, **more: Any) -> Parked:
    """Send a request whose job is open: its thread leaves it."""
    with pytest.raises(Parked) as found:
        stage.post(path, dict(json or {}), **more)
    return found.value


def resume(parked: Parked) -> falcon.Response:
    """Let a parked request look again."""
    resp = falcon.Response()
    run = parked.environment[RESUMED]
    assert callable(run)
    run(resp)
    return resp


def submitted(stage: Stage, path: str, json: Any) -> JobRequest:
    """What the Manager was asked for."""
    result = stage.post(path, json)
    assert result.status_code == 200, result.text
    return command_of(stage).request


def command_of(stage: Stage) -> SubmitJob:
    (ask,) = [one for one in stage.bus.asked if isinstance(one, SubmitJob)][-1:]
    return ask


def warnings_of(result: falcon.testing.Result) -> str:
    return str(result.headers.get(WARNINGS.lower(), ""))


def refusal_of(stage: Stage, path: str, json: Any) -> tuple[int, dict[str, str]]:
    """The status, and the members that A1111's clients show."""
    result = stage.post(path, json)
    assert set(result.json) == {"error", "detail", "body", "errors"}, result.text
    return result.status_code, result.json
