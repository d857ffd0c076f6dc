"""The sources of the web page: their types, style and size, and the logic that needs no browser."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
PAGE: Final = ROOT / "api" / "web"
MOST_BYTES: Final = 150_000
"""That are sent of all files together."""
OF_OURS: Final = ("--config", ".prettierrc.json", "--no-editorconfig")
CHECKS: Final = {
    "types": ["node_modules/.bin/tsc", "--project", "."],
    "format": ["node_modules/.bin/prettier", *OF_OURS, "--check", "--log-level", "warn", str(PAGE), "unit"],
    "logic": ["node", "--test", "unit/"],
}

needs_tools = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="Node or the packages of tests/web are not installed",
)


def passes(command: list[str], folder: Path = HERE) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_tools
@pytest.mark.parametrize("check", CHECKS)
def test_the_sources_pass(check: str) -> None:
    passes(CHECKS[check])


@needs_tools
def test_eslint_finds_nothing() -> None:
    passes(["tests/web/node_modules/.bin/eslint", "-c", "tests/web/eslint.config.js", "api/web"], ROOT)


def files() -> list[Path]:
    return [file for file in PAGE.rglob("*") if file.is_file()]


def test_the_page_is_small() -> None:
    """As a browser gets it: compressed."""
    assert sum(len(gzip.compress(file.read_bytes())) for file in files()) < MOST_BYTES


def test_the_page_asks_no_other_server() -> None:
    named = {
        address
        for file in files()
        for address in re.findall(r"https?://[^\s\"'<>)]*", file.read_text("utf-8"))
    }
    assert named <= {"http://www.w3.org/2000/svg"}


def test_every_text_is_used_and_every_text_that_is_used_exists() -> None:
    """A key stands in the sources as it is, or is made of a group and a value."""
    texts = (PAGE / "text" / "en.js").read_text("utf-8")
    known = set(re.findall(r'^  "([\w.]+)":', texts, re.MULTILINE))
    sources = "".join(file.read_text("utf-8") for file in PAGE.rglob("*.js") if file.parent.name != "text")
    named = set(re.findall(r'"([a-z_]+(?:\.[a-z_0-9]+)+)"', sources))
    groups = {*re.findall(r"`([a-z_.]+)\.\$\{", sources), *re.findall(r'\bword\(\s*"([a-z_.]+)"', sources)}
    asked = set(re.findall(r'\bt\(\s*"([\w.]+)"', sources))
    assert asked <= known
    assert {key for key in known - named if key.rpartition(".")[0] not in groups} == set()
