"""Clients that others' tools generate from /openapi.json draw an image on a real server."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.orders import write_checkpoint
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.server import Server

TYPESCRIPT: Final = Path(__file__).parent / "typescript"
CONFIGURATION: Final = """
content_type_overrides:
  image/png: application/octet-stream
  image/jpeg: application/octet-stream
  image/webp: application/octet-stream
  application/zip: application/octet-stream
  text/plain: application/octet-stream
"""
"""As docs/api.md says it."""
DRAW: Final = """
import hashlib, json, sys
from spoon_client import Client
from spoon_client.api.images import download_image
from spoon_client.api.jobs import get_job, list_jobs, submit_job
from spoon_client.api.models import register_model
from spoon_client.models import JobInput, JobState, ModelInput

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True, timeout=60)
path = f"file://{sys.argv[2]}"
model = register_model.sync(
    client=client, body=ModelInput(name="python", path=path, model_type="checkpoint"), wait=60.0
)
wish = JobInput(checkpoint=model.model_id, prompt="a red fox", seed=7, scheduler="Euler a")
job = submit_job.sync(client=client, body=wish, wait=60.0)
job = get_job.sync(job.job_id, client=client)
assert job.status is JobState.FINISHED
refused = submit_job.sync(client=client, body=JobInput(scheduler="euler_b"))
(listed,) = list_jobs.sync(client=client, prompt="fox").items
image = download_image.sync(job.image_ids[0], client=client)
print(json.dumps({
    "status": job.status,
    "listed": listed.job_id == job.job_id,
    "refused": refused.code,
    "sha256": hashlib.sha256(image.payload.read()).hexdigest(),
}))
"""


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    """A file that no model is registered for yet."""
    file = folder / "another.safetensors"
    write_checkpoint(file)
    return file


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """What a command said, in this folder."""
    environ = dict(os.environ) | variables
    ended = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def digest_of_only_image(server: Server) -> str:
    (kept,) = server.images.glob("*.png")
    return sha256(kept.read_bytes()).hexdigest()


def test_openapi_python_client_makes_a_client_without_a_warning_and_it_draws(
    address: str, checkpoint: Path, server_with_api: Server, tmp_path: Path
) -> None:
    pytest.importorskip("openapi_python_client", reason="the extra `dev` has it")
    (tmp_path / "config.yaml").write_text(CONFIGURATION + "post_hooks: []\n")
    source = ("--url", f"{address}/openapi.json", "--config", "config.yaml", "--fail-on-warning")
    command = (sys.executable, "-m", "openapi_python_client", "generate", *source)
    run(tmp_path, *command, "--meta", "none", "--output-path", "spoon_client")
    said = json.loads(run(tmp_path, sys.executable, "-c", DRAW, address, checkpoint))
    assert said == {
        "status": "finished",
        "listed": True,
        "refused": "invalid_field",
        "sha256": digest_of_only_image(server_with_api),
    }


@pytest.mark.skipif(
    shutil.which("node") is None or not (TYPESCRIPT / "node_modules").is_dir(),
    reason="needs Node and `npm ci --prefix tests/acceptance/typescript`",
)
def test_openapi_typescript_makes_types_that_compile_and_a_client_of_them_draws(
    address: str, checkpoint: Path, server_with_api: Server, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    for name in ("package.json", "tsconfig.json", "draw.ts"):
        shutil.copy(TYPESCRIPT / name, tmp_path)
    tools = tmp_path / "node_modules" / ".bin"
    run(tmp_path, tools / "openapi-typescript", f"{address}/openapi.json", "--output", "schema.d.ts")
    run(tmp_path, tools / "tsc", "--project", "tsconfig.json")
    said = json.loads(run(tmp_path, "node", "draw.js", address, checkpoint))
    assert (said["status"], said["refused"]) == ("finished", "invalid_field")
    assert said["states"] == ["waiting", "processing", "finished"]
    assert said["sha256"] == digest_of_only_image(server_with_api)
