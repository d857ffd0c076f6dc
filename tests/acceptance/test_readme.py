"""The commands of the README and the tutorial do what they say, with the models that ship."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from conf.load import load
from engine_worker.embedded.shipped import shipped
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.processes import environment
from tests.acceptance.server import Server
from tests.unit.api.sample_pictures import PNG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
SECTION: Final = README.partition("\n## Use\n")[2].partition("\n## ")[0]
TUTORIAL: Final = (ROOT / "docs/tutorial.md").read_text()
MODELS_PAGE: Final = (ROOT / "docs/models.md").read_text()
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
FOREGROUND: Final = ("spoon init", "spoon doctor", "spoon serve")
"""What needs a machine or a terminal of its own; the server that the other commands talk to runs already."""
PREAMBLE: Final = """
set -e
python() { "$PYTHON" "$@"; }
spoon() { "$PYTHON" -m api.cli.main "$@"; }
"""


def fenced(language: str) -> list[str]:
    """The blocks of the section about use, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def indented(page: str, *beginnings: str) -> list[str]:
    """The indented commands of a page that begin so."""
    lines = [line.strip() for line in page.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(beginnings)]


def runs(server: Server, commands: str) -> str:
    """Run them in a shell whose home has the folder of models, beside the server's configuration."""
    variables = {
        "HOME": str(server.folder),
        "SPOON_CONFIG": str(server.config_file),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        ["sh", "-c", PREAMBLE + commands],
        cwd=server.folder,
        env=environment(server.folder) | variables,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, f"{commands}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def is_picture(server: Server, name: str) -> bool:
    return (server.folder / name).read_bytes().startswith(PNG_SIGNATURE)


@pytest.fixture
def at_home(server_with_api: Server) -> Server:
    """A server that runs, with the models of the README in the folder `weights` of somebody's home."""
    weights = server_with_api.folder / "weights"
    weights.mkdir()
    for name, model in (("dreams", "scenes-sd"), ("snow", "stripes-sd")):
        (weights / f"{name}.safetensors").symlink_to(shipped(model).path)
    canny = shipped("canny-sd").path / "diffusion_pytorch_model.safetensors"
    (weights / "edges.safetensors").symlink_to(canny)
    server_with_api.configure(models='folders = ["weights"]')
    server_with_api.start()
    return server_with_api


def test_the_configuration_that_is_shown_can_be_read(tmp_path: Path) -> None:
    (text,) = fenced("toml")
    file = tmp_path / "spoon.toml"
    file.write_text(text)
    assert load(file, {}).images.expire_after_s is None


def test_the_commands_draw_the_pictures_that_they_name(at_home: Server) -> None:
    blocks = [block for block in fenced("sh") if "curl" not in block]
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith(FOREGROUND)]
    assert sum(line.startswith("spoon ") for line in lines) >= 10, "the README has other commands now"
    (at_home.folder / "photo.jpg").write_bytes(PNG)

    runs(at_home, "\n".join(lines))

    assert all(is_picture(at_home, name) for name in ("fox.png", "wolf.png", "statue.png"))


def test_the_commands_of_the_gallery_draw_its_pictures(at_home: Server) -> None:
    setup = indented(MODELS_PAGE.partition("## The models that ship")[2], "spoon ")[:3]
    gallery = indented(README, "spoon jobs submit")
    assert (len(setup), len(gallery)) == (3, 4)

    runs(at_home, "\n".join([*setup, *gallery]))

    assert all(is_picture(at_home, f"{name}.png") for name in ("circle", "star", "triangle", "stripes"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="these are commands of curl")
def test_the_calls_with_curl_are_answered(at_home: Server) -> None:
    (block,) = (block for block in fenced("sh") if "curl" in block)
    block = block.replace("127.0.0.1:7870", f"127.0.0.1:{at_home.port}").replace("curl -s", "curl -sf")
    block = block.replace("/home/me", str(at_home.folder))
    calls, _, download = block.rstrip().rpartition("\n")
    assert "IMAGE_ID" in download
    (at_home.folder / "fox.png").write_bytes(PNG)

    said = runs(at_home, calls)
    *_, image_id = re.findall(r'"image_ids": ?\["([^"]+)"\]', said)
    (at_home.folder / "fox.png").unlink()
    runs(at_home, calls.splitlines()[0] + "\n" + download.replace("IMAGE_ID", image_id))

    assert is_picture(at_home, "fox.png")


@pytest.mark.skipif(shutil.which("curl") is None, reason="half of these are commands of curl")
def test_the_commands_of_the_tutorial_give_the_same_image_twice(at_home: Server) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", TUTORIAL, re.DOTALL)
    commands = "\n".join(blocks).replace("127.0.0.1:7870", f"127.0.0.1:{at_home.port}")

    said = runs(at_home, commands.replace("curl -s", "curl -sf"))

    assert said.count('"status":"finished"') == 1
    assert is_picture(at_home, "circle.png")
    assert (at_home.folder / "circle.png").read_bytes() == (at_home.folder / "again.png").read_bytes()
