"""`make demo`, as a person runs it: from nothing to a picture, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from examples.demo import TAIL_LINES, Failed, server, tail_of_logs
from tests.judge import judge
from training.scenes import Colour, Shape

ROOT = Path(__file__).parents[2]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_ends_with_the_line_that_names_its_picture(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    environ = os.environ | {"SPOON_URL": "http://127.0.0.1:1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "picture: demo.png"
    picture = Image.open(tmp_path / "demo.png")
    assert picture.format == "PNG"
    seen = judge(np.asarray(picture.convert("RGB"))).scene
    assert (seen.shape, seen.colour, seen.background) == (Shape.CIRCLE, Colour.RED, Colour.BLUE)
    assert "stopped" in ended.stdout


@pytest.mark.torch
@pytest.mark.timeout(300)
def test_the_demo_that_stays_serves_its_page_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--stay"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = next(line for line in demo.stdout if line.startswith("-- page: "))
        url = said.removeprefix("-- page: ").split()[0]
        assert httpx.get(url).headers["content-type"].startswith("text/html")
        (engine,) = httpx.get(f"{url}v1/engines").json()["items"]
        assert engine["name"] == "scenes"
        demo.send_signal(signal.SIGINT)
        assert "stopped" in demo.stdout.read()
        assert demo.wait() == 0


def test_what_the_demo_shows_of_the_logs_is_their_ends(tmp_path: Path) -> None:
    logs = tmp_path / "database" / "logs"
    logs.mkdir(parents=True)
    (tmp_path / "server.log").write_text(
        "".join(f"line {number}\n" for number in range(100)), encoding="utf-8"
    )
    (logs / "w1-1.log").write_bytes(b"broken \xff text\n")
    shown = list(tail_of_logs(tmp_path))
    assert (shown[0], shown[1], shown[TAIL_LINES]) == ("server.log:", "  line 60", "  line 99")
    assert shown[TAIL_LINES + 1 :] == ["w1-1.log:", "  broken \N{REPLACEMENT CHARACTER} text"]


def test_a_demo_without_a_server_says_what_failed(tmp_path: Path) -> None:
    config = tmp_path / "spoon.toml"
    config.write_text("server.prot = 1\n", encoding="utf-8")
    with pytest.raises(Failed, match="ended with exit code 78 instead of starting"), server(tmp_path, config):
        pass
    assert "did you mean server.port?" in "".join(tail_of_logs(tmp_path))
