"""docs/map.md: what lives in each source file, as its module docstring says."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = {
    "kernel": "The Manager: protocol, core, shell, views",
    "api": "The REST API and the command line",
    "engine_worker": "The worker: session, engine, inspection",
    "conf": "The configuration",
}


def map_page(notice: str) -> str:
    """The whole page. `notice` is the line that says that it is generated."""
    lines = ["# The files", "", notice, "", "One line for each source file: the first one of its docstring."]
    for folder, title in FOLDERS.items():
        lines += ["", f"## {title}"]
        for package in _packages(ROOT / folder):
            lines += ["", f"### {package.relative_to(ROOT)}/", "", "| file | what lives there |", "|---|---|"]
            lines += [f"| `{file.name}` | {_first_sentence(file)} |" for file in _modules(package)]
    return "\n".join(lines) + "\n"


def _packages(folder: Path) -> Iterator[Path]:
    """A folder and all below it that hold modules, parents first."""
    if any(_modules(folder)):
        yield folder
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _packages(child)


def _modules(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py")


def _first_sentence(file: Path) -> str:
    """The first paragraph of the module's docstring, in one line.

    Raises: LookupError, if the module has none.
    """
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise LookupError(f"{file.relative_to(ROOT)} does not say what lives there")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
