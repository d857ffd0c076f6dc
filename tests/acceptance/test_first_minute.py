"""`spoon draw` on a new server: told what is missing, then one checkpoint and a prompt are enough."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine_worker.embedded.shipped import shipped
from tests.acceptance.image_server import ImageServer, opened_image_server
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.processes import environment
from tests.judge import judge
from training.scenes import Colour, Shape

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PROMPT = "a large red circle on a blue background"
Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def image_server() -> Iterator[ImageServer]:
    """A server that nobody has told anything yet."""
    with opened_image_server() as image_server:
        yield image_server


@pytest.fixture
def spoon(image_server: ImageServer) -> Callable[..., Ended]:
    """Runs a command in the server's folder, as a person would."""

    def run(*arguments: str) -> Ended:
        command = [sys.executable, "-m", "api.cli.main", "--config", "spoon.toml", *arguments]
        variables = environment(image_server.folder) | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command,
            cwd=image_server.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE_S,
            check=False,
        )

    return run


def test_one_checkpoint_and_a_prompt_are_enough_for_an_image(
    image_server: ImageServer, spoon: Callable[..., Ended]
) -> None:
    refused = spoon("draw", PROMPT)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "spoon models add" in refused.stderr

    checkpoint = str(shipped("scenes-sd").path)
    added = spoon("models", "add", checkpoint, "--type", "checkpoint", "--name", "scenes", "--wait")
    assert added.returncode == 0, added.stderr
    drawn = [spoon("draw", PROMPT, "--seed", "1"), spoon("draw", PROMPT, "-m", "scenes", "--seed", "1")]
    assert [one.returncode for one in drawn] == [0, 0], drawn[0].stderr + drawn[1].stderr
    names = [one.stdout.removesuffix("\n") for one in drawn]
    assert names == ["a-large-red-circle-on-1.png", "a-large-red-circle-on-1-2.png"]

    first, second = (image_server.folder / name for name in names)
    assert first.read_bytes() == second.read_bytes()
    seen = judge(np.asarray(Image.open(first).convert("RGB"))).scene
    assert (seen.shape, seen.colour, seen.background) == (Shape.CIRCLE, Colour.RED, Colour.BLUE)
    (engine,) = image_server.http.get("/engines").json()["items"]
    assert (engine["name"], engine["autostart"]) == (None, True)
