"""One version: code, package, changelog and tag agree."""

import re
import subprocess
from configparser import ConfigParser
from datetime import date
from typing import Final

import pytest

from kernel.protocol.version import VERSION
from tests.architecture.source_files import ROOT

HEADING: Final = re.compile(r"^## (.*)$", re.MULTILINE)
RELEASE: Final = re.compile(r"\[?(\d+\.\d+\.\d+)\]? - (\d{4}-\d{2}-\d{2})")
UNRELEASED: Final = re.compile(r"\[?Unreleased\]?")
TAG: Final = re.compile(r"v\d+\.\d+\.\d+")


def releases(changelog: str) -> list[tuple[str, date]]:
    """Version and date of each release of a changelog, in its order; one section above may be unreleased.

    Raises: ValueError, if a heading is neither.
    """
    headings = HEADING.findall(changelog)
    found = []
    for heading in headings[1:] if headings and UNRELEASED.fullmatch(headings[0]) else headings:
        if not (match := RELEASE.fullmatch(heading)):
            raise ValueError(f"not a release: {heading}")
        found.append((match[1], date.fromisoformat(match[2])))
    return found


def numbers(version: str) -> tuple[int, ...]:
    """A version as a tuple that sorts."""
    return tuple(int(part) for part in version.split("."))


def tags_of_head() -> list[str]:
    """The version tags of the commit that is checked out; none where git or the repository is missing."""
    command = ["git", "tag", "--points-at", "HEAD"]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return [tag for tag in ended.stdout.split() if TAG.fullmatch(tag)]


def test_the_package_has_the_version_of_the_code() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: kernel.protocol.version.VERSION"


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    released = releases((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert [version for version, _ in released[:1]] in ([], [VERSION])
    assert released == sorted(released, key=lambda one: (numbers(one[0]), one[1]), reverse=True)
    assert [day for _, day in released] == sorted((day for _, day in released), reverse=True)


def test_a_tag_of_this_commit_is_the_version_and_has_its_section() -> None:
    released = releases((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    for tag in tags_of_head():
        assert tag == f"v{VERSION}"
        assert VERSION in [version for version, _ in released]


def test_releases_are_read_below_an_unreleased_section() -> None:
    dated = "## 0.10.0 - 2026-03-02\n\n### Added\n\n## [0.9.1] - 2026-02-01\n"
    expected = [("0.10.0", date(2026, 3, 2)), ("0.9.1", date(2026, 2, 1))]
    assert releases(dated) == expected
    assert releases(f"# Changelog\n\n## Unreleased\n\n- New\n\n{dated}") == expected
    assert releases("## Unreleased\n") == []


@pytest.mark.parametrize("heading", ["0.1.0", "0.1 - 2026-01-02", "0.1.0 - 2026-13-01", "Soon"])
def test_a_heading_that_is_no_release_is_found(heading: str) -> None:
    with pytest.raises(ValueError, match=r"not a release|month"):
        releases(f"## {heading}\n")
