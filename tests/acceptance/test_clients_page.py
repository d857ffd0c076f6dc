"""What docs/clients.md tells people to type works, in its order, with the fake engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest
from PIL import Image

from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.processes import environment
from tests.acceptance.server import Server
from tests.unit.worker.model_files import lora, write_safetensors

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
PREAMBLE: Final = """
set -e
python() { "$PYTHON" "$@"; }
spoon() { "$PYTHON" -m api.cli.main "$@"; }
"""
TO_QUEUE: Final = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def address(server_with_api: Server) -> str:
    """That of a server with a default, for the requests of the page that name no model."""
    server_with_api.configure(engines='default = "portraits"')
    server_with_api.start()
    return f"http://127.0.0.1:{server_with_api.port}"


@pytest.fixture
def home(address: str, server_with_api: Server) -> Server:
    """A server with the LoRA that the page names, and a checkpoint's file as it lies in somebody's folder."""
    folder = server_with_api.folder
    (folder / "checkpoint.safetensors").rename(folder / "dreams.safetensors")
    file = write_safetensors(folder / "detail.safetensors", lora(TO_QUEUE, 768))
    model = {"name": "detail", "path": file.as_uri(), "model_type": "lora"}
    httpx.post(f"{address}/v1/models?wait=30", json=model).raise_for_status()
    mask = Image.new("RGBA", (512, 768), "black")
    mask.paste((0, 0, 0, 0), (100, 100, 300, 300))
    mask.save(folder / "mask.png")
    return server_with_api


def run(server: Server, *command: str) -> str:
    variables = {
        "SPOON_CONFIG": str(server.config_file),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        command,
        cwd=server.folder,
        env=environment(server.folder) | variables,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def test_the_page_can_be_typed(home: Server, address: str) -> None:
    models, engine, *curl = (block.replace("http://127.0.0.1:7870", address) for block in blocks("sh"))
    for shell in (models, engine):
        run(home, "sh", "-c", PREAMBLE + shell)
    script = "".join(blocks("python")).replace("http://127.0.0.1:7870", address)
    said = run(home, sys.executable, "-W", "ignore::ResourceWarning", "-c", script)
    assert said.splitlines()[-1] == "image_generation.completed"
    with Image.open(home.folder / "fox.png") as fox:
        assert fox.size == (512, 768)
    answers = run(home, "sh", "-c", PREAMBLE + "".join(curl))
    assert "error" not in answers.replace('"error":null', "")
    assert '"url":"http://' in answers
    assert '"b64_json":"' in answers
    assert '"object":"list"' in answers
    assert '"images":["' in answers
