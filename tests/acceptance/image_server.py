"""A server with real engines, as a person with an HTTP client meets it: models in, pictures out."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image

from tests.acceptance.conftest import cleaned_up
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server

SIDE_PX: Final = 64
PATIENCE_S: Final = 90.0
"""An engine that is just being started imports torch first."""
Pixels = np.ndarray[Any, np.dtype[np.int16]]
"""Shapes: (height, width, channels); signed, so that differences need no thought."""


@dataclass(frozen=True)
class Drawn:
    """A finished job, its images, and their files."""

    job: dict[str, Any]
    images: list[dict[str, Any]]
    files: list[bytes]

    @property
    def pixels(self) -> Pixels:
        """The first picture's."""
        return pixels_of(self.files[0])


class ImageServer:
    """Everything by names; every refusal fails the test with its words."""

    def __init__(self, http: httpx.Client, folder: Path) -> None:
        self.http = http
        self.folder = folder
        """The server's own, in which tests may put models."""

    def register(self, model_type: str, name: str, path: str, **fields: object) -> dict[str, Any]:
        body = {"name": name, "path": path, "model_type": model_type, **fields}
        return self._ready(self.http.post("/models", params={"wait": PATIENCE_S}, json=body))

    def upload(self, model_type: str, model_base: str, file: Path) -> dict[str, Any]:
        return self._ready(
            self.http.post(
                "/models/upload",
                params={"wait": PATIENCE_S},
                data={"model_type": model_type, "model_base": model_base},
                files={"file": (file.name, file.read_bytes())},
            )
        )

    def _ready(self, answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 201, answer.text
        model: dict[str, Any] = answer.json()
        assert model["status"] == "ready", model["error"]
        return model

    def create_engine(self, name: str, checkpoint: str, **fields: object) -> None:
        """An engine for small pictures, which its first job starts."""
        body = {
            "name": name,
            "checkpoint": checkpoint,
            "device": "cpu",
            "scheduler": "euler_a",
            "steps": 3,
            "cfg": 4,
            "width": SIDE_PX,
            "height": SIDE_PX,
            "start": False,
            **fields,
        }
        answer = self.http.post("/engines", json=body)
        assert answer.status_code == 201, answer.text

    def submit(self, files: Mapping[str, bytes] | None = None, **fields: object) -> str:
        """Submit a job, as JSON or with files as a form. Returns: its id."""
        job = {"engine": "plain", "prompt": "a red ball", "seed": 5, **fields}
        if files is None:
            answer = self.http.post("/jobs", json=job)
        else:
            texts = {name: one if isinstance(one, str) else json.dumps(one) for name, one in job.items()}
            parts = {name: ("picture.png", data) for name, data in files.items()}
            answer = self.http.post("/jobs", data=texts, files=parts)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def draw(self, files: Mapping[str, bytes] | None = None, **fields: object) -> Drawn:
        """What becomes of a job."""
        return self.drawn(self.submit(files, **fields))

    def drawn(self, job_id: str) -> Drawn:
        """What became of a job: waits for its end, and downloads each of its pictures once."""
        job = self.ended(job_id)
        assert job["status"] == "finished", job["error"]
        images = [self.http.get(f"/images/{image_id}").json() for image_id in job["image_ids"]]
        return Drawn(job, images, [self.download(image["download"]) for image in images])

    def ended(self, job_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.http.get(f"/jobs/{job_id}").json()
            return job if job["status"] in ("finished", "failed", "cancelled") else None

        return wait_for("the end of the job", look, PATIENCE_S)

    def download(self, path: str) -> bytes:
        """What lies at a path that the server gave."""
        answer = self.http.get(path.removeprefix("/v1"))
        assert answer.status_code == 200, answer.text
        return answer.content


@contextmanager
def opened_image_server(*, models: str = "") -> Iterator[ImageServer]:
    """A studio of its own; `models` are lines for that section of the configuration."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spoon-")))
        server = stack.enter_context(cleaned_up(Server(folder, with_api=True, has_fakes=False)))
        server.configure(models=models)
        server.start()
        url = f"http://127.0.0.1:{server.port}/v1"
        http = stack.enter_context(httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False))
        yield ImageServer(http, folder)
        assert server.stop() == 0


def pixels_of(file: bytes) -> Pixels:
    """The pixels of a picture's file."""
    return np.asarray(Image.open(BytesIO(file)), dtype=np.int16)


def recipe_in(file: bytes) -> str:
    """The recipe that the file carries. Source: A1111's `parameters`; Exif 2.3, UserComment."""
    image = Image.open(BytesIO(file))
    if image.format == "PNG":
        return str(image.info["parameters"])
    comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert isinstance(comment, bytes)
    assert comment.startswith(b"UNICODE\0")
    return comment[8:].decode("utf-16-be")
