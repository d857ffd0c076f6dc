"""The pages about the architecture are whole: the walk has no gap, every decision and page is listed."""

import re
from pathlib import Path
from typing import Final

from tests.architecture.source_files import ROOT, pages
from tests.architecture.tables import rows_after

DOCS: Final = ROOT / "docs"
DECISIONS: Final = sorted((DOCS / "adr").glob("[0-9]*.md"))
PARTS: Final = ["Context", "Decision", "Consequences", "Not chosen"]
PLACE: Final = re.compile(r"`[\w/]+\.py:[\w.]+`")
FILE: Final = re.compile(r"`((?:kernel|api|engine_worker|conf|docs|tests|bench|examples)/[\w./-]*)`")


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def test_every_hop_of_the_walk_is_numbered_and_says_where_it_is() -> None:
    rows = rows_after(text_of(DOCS / "architecture.md"), "## The walk of one job")
    assert [int(row.cells[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert [row.cells for row in rows if not PLACE.fullmatch(row.cells[2])] == []


def test_the_walk_begins_with_the_request_and_ends_with_the_file() -> None:
    rows = rows_after(text_of(DOCS / "architecture.md"), "## The walk of one job")
    assert "POST /v1/jobs" in rows[0].cells[1]
    assert any("/download" in row.cells[1] for row in rows[-5:])


def test_files_and_folders_that_a_page_names_exist() -> None:
    wrong = {
        (str(page), name)
        for page in pages()
        for name in FILE.findall(text_of(ROOT / page))
        if not (ROOT / name).exists()
    }
    assert wrong == set()


def test_every_file_of_the_core_is_on_the_page_of_the_architecture() -> None:
    page = text_of(DOCS / "architecture.md")
    names = [str(file.relative_to(ROOT)) for file in (ROOT / "kernel/core").rglob("*.py")]
    missing = [name for name in names if not name.endswith("__init__.py") and name not in page]
    assert missing == []


def test_decisions_are_numbered_without_a_gap_and_all_are_listed() -> None:
    assert [int(file.name[:4]) for file in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = rows_after(text_of(DOCS / "adr/README.md"), "# Decisions")
    assert [row.cells[0] for row in index] == [f"[{file.name[:4]}]({file.name})" for file in DECISIONS]
    titles = [text_of(file).splitlines()[0] for file in DECISIONS]
    listed = zip(DECISIONS, index, strict=True)
    assert titles == [f"# {file.name[:4]} {row.cells[1]}" for file, row in listed]


def test_every_decision_tells_context_choice_price_and_alternatives() -> None:
    wrong = [
        file.name
        for file in DECISIONS
        if re.findall(r"^\*\*([\w ]+)\.\*\*", text_of(file), re.MULTILINE) != PARTS
    ]
    assert wrong == []


def test_the_index_of_the_docs_leads_to_every_page() -> None:
    index = text_of(DOCS / "README.md")
    names = [page.relative_to("docs") for page in pages() if page.is_relative_to("docs")]
    listed = [name for name in names if name.parent == Path() and name.name != "README.md"]
    assert [str(name) for name in listed if f"({name})" not in index] == []
