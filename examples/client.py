"""One picture with the standard library alone: register, create, submit, watch, download.

    python examples/client.py http://127.0.0.1:7870 /models/checkpoint.safetensors [--out picture.png]
    python examples/client.py http://127.0.0.1:7870 /models/checkpoint.safetensors --reference photo.jpg

The checkpoint must lie below one of the server's models.file_roots.
"""

import argparse
import json
import sys
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TIMEOUT_S = 180.0


class Refused(Exception):
    """The server's problem document, in one line."""


class Client:
    """The few calls of the REST API that one picture takes."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON.

        Raises: Refused, with the server's reason.
        """
        headers = {"Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())  # so that it may be sent again without harm
        with self._open(Request(self._url + path, _encoded(body), headers, method=method)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to a job, until it has ended: (event, data)."""
        with self._open(Request(f"{self._url}/v1/jobs/{job_id}/events")) as stream:
            event = ""
            for line in stream:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)

    def download(self, image_id: str, out: Path) -> None:
        """Save an image."""
        with self._open(Request(f"{self._url}/v1/images/{image_id}/download")) as answer:
            out.write_bytes(answer.read())

    def _open(self, request: Request) -> Any:
        try:
            return urlopen(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            with error:
                raise Refused(f"{error.code}: {json.load(error)['detail']}") from None


def draw(client: Client, checkpoint: Path, wish: dict[str, Any], out: Path) -> None:
    """From a checkpoint to a picture; `wish` is what the job asks for.

    Raises: Refused, if any step is refused or fails.
    """
    model = client.call(
        "POST",
        "/v1/models?wait=120",
        {"name": checkpoint.stem, "model_type": "checkpoint", "path": checkpoint.absolute().as_uri()},
    )
    if model["status"] != "ready":
        raise Refused(f"the model is {model['status']}: {model['error']}")
    engine = client.call("POST", "/v1/engines", {"checkpoint": model["model_id"]})
    job = client.call("POST", "/v1/jobs", {"engine_id": engine["engine_id"], **wish})
    for event, data in client.events(job["job_id"]):
        if event == "progress":
            print(f"\r{data['fraction']:4.0%}", end="", file=sys.stderr, flush=True)
        elif event == "state":
            print(f"\r{data['status']}", file=sys.stderr)
    job = client.call("GET", f"/v1/jobs/{job['job_id']}")
    if job["status"] != "finished":
        raise Refused(f"the job is {job['status']}: {job['error']}")
    client.download(job["image_id"], out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw one picture over the REST API.")
    parser.add_argument("url", help="where the server listens")
    parser.add_argument("checkpoint", type=Path, help="below one of the server's models.file_roots")
    parser.add_argument("--prompt", default="a large red circle on a blue background")
    parser.add_argument("--reference", type=Path, help="a picture to begin with")
    parser.add_argument("--strength", type=float, default=0.75, help="how far that is changed, up to 1")
    parser.add_argument("--out", type=Path, default=Path("picture.png"), help="where the picture goes")
    options = parser.parse_args()
    try:
        wish = {"prompt": options.prompt, **_picture(options.reference, options.strength)}
        draw(Client(options.url), options.checkpoint, wish, options.out)
    except (Refused, OSError) as error:
        print(f"client: {error}", file=sys.stderr)
        return 1
    print(f"picture: {options.out}")
    return 0


def _picture(reference: Path | None, strength: float) -> dict[str, Any]:
    """The fields of image to image; none without a picture."""
    if reference is None:
        return {}
    return {"reference_image_blob": b64encode(reference.read_bytes()).decode(), "strength": strength}


def _encoded(body: dict[str, Any] | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


if __name__ == "__main__":
    sys.exit(main())
