"""The docs are in step: links lead somewhere, named code exists, generated pages are as generated."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from docs.generate import out_of_step
from tests.architecture.source_files import ROOT, pages

LINK = re.compile(
    r"(?<!!)\[[^\]]*\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)|!\[[^\]]*\]\((?!https?://)([^)\s]+)\)"
)
NAMED_CODE = re.compile(r"`([\w./-]+\.py):([A-Za-z_][\w.]*)(?:\(\))?`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What can stand behind # in a link to a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@cache
def names_in(file: Path) -> frozenset[str]:
    """Every function, class, method and constant of a module, as it is named from outside."""
    found: set[str] = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(prefix + name)
                case ast.ClassDef(name=name):
                    found.add(prefix + name)
                    collect(node.body, f"{prefix}{name}.")
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(prefix + name)
                case _:
                    pass

    collect(ast.parse(file.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


@pytest.mark.parametrize("page", pages(), ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target, anchor, picture in LINK.findall(prose(page)):
        file = (ROOT / page).parent / (target or picture) if target or picture else ROOT / page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(f"{target or picture}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=str)
def test_code_that_a_page_names_exists(page: Path) -> None:
    wrong = [
        f"{file}:{name}"
        for file, name in NAMED_CODE.findall(prose(page))
        if not (ROOT / file).is_file() or name not in names_in(ROOT / file)
    ]
    assert wrong == []


def test_names_are_found_as_a_page_would_write_them() -> None:
    found = names_in(ROOT / "kernel/protocol/codec.py")
    assert {"Decoder", "Decoder.decode", "encode", "MAX_BLOBS"} <= found
    assert NAMED_CODE.findall("see `kernel/protocol/codec.py:Decoder.decode` and `a.py`") == [
        ("kernel/protocol/codec.py", "Decoder.decode")
    ]


def test_generated_pages_are_in_step_with_the_code() -> None:
    assert out_of_step() == [], "run python -m docs.generate"


def test_the_generator_says_when_a_page_is_out_of_step() -> None:
    command = [sys.executable, "-m", "docs.generate", "--check"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
