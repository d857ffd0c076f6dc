"""The project's own files, for the tests that look at them."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("kernel", "api", "engine_worker", "conf", "training")


def sources() -> list[Path]:
    """Every Python file of the packages, relative to the root."""
    return sorted(path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def pages() -> list[Path]:
    """Every Markdown page that belongs to the project, relative to the root."""
    folders = ["docs", "conf", "examples", "training", "bench"]
    found = [*ROOT.glob("*.md"), *(path for name in folders for path in (ROOT / name).rglob("*.md"))]
    return sorted(path.relative_to(ROOT) for path in found)
