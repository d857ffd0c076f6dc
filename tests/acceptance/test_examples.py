"""The example clients do what they say against a real server: one picture, from a file to a file."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.orders import write_checkpoint
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.server import Server
from tests.unit.api.sample_pictures import PNG

EXAMPLES = Path(__file__).parents[2] / "examples"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    """A file that no model is registered for yet; a blank in its name, since people have such names."""
    file = folder / "my checkpoint.safetensors"
    write_checkpoint(file)
    return file


def run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_python_client_saves_the_picture(address: str, checkpoint: Path, server_with_api: Server) -> None:
    picture, reference = checkpoint.with_name("python.png"), checkpoint.with_name("reference.png")
    reference.write_bytes(PNG)
    command = (sys.executable, str(EXAMPLES / "client.py"), address, str(checkpoint))
    run(*command, "--reference", str(reference), "--strength", "0.5", "--out", str(picture))
    assert_is_the_servers_picture(picture, server_with_api)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the shell client needs curl")
def test_the_shell_client_saves_the_picture(address: str, checkpoint: Path, server_with_api: Server) -> None:
    picture = checkpoint.with_name("shell.png")
    run("sh", str(EXAMPLES / "client.sh"), address, str(checkpoint), str(picture))
    assert_is_the_servers_picture(picture, server_with_api)


def assert_is_the_servers_picture(picture: Path, server: Server) -> None:
    """The file is byte for byte the one that the server keeps."""
    (kept,) = server.images.glob("*.png")
    assert picture.read_bytes() == kept.read_bytes()
    assert picture.read_bytes().startswith(PNG_SIGNATURE)
