"""A number beside the name of a constant, in a table of a page, is that constant's value."""

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source_files import ROOT, pages
from tests.architecture.tables import all_rows

CONSTANT: Final = re.compile(r"`([\w/]+)\.py:([A-Za-z_][\w.]*)`")
NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)(?: (s|ms|KiB|MiB|GiB))?")
FACTORS: Final = {"": 1, "s": 1, "ms": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def value_of(module: str, name: str) -> object:
    """A module's constant, or the default of a dataclass's field; a function is itself."""
    found: object = importlib.import_module(module.replace("/", "."))
    for part in name.split("."):
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            defaults = {field.name: field.default for field in dataclasses.fields(found)}
            found = defaults[part] if part in defaults else getattr(found, part)
        else:
            found = getattr(found, part)
    return found


def numbers_on(page: Path) -> list[tuple[str, str, float]]:
    """Module, name and number of each row that has one of each."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for row in all_rows(text) if "\n|" in text else []:
        constants = [match for cell in row.cells if (match := CONSTANT.fullmatch(cell))]
        numbers = [match for cell in row.cells if (match := NUMBER.fullmatch(cell))]
        if len(constants) == 1 and len(numbers) == 1:
            number = float(numbers[0][1]) * FACTORS[numbers[0][2] or ""]
            found.append((constants[0][1], constants[0][2], number))
    return found


@pytest.mark.parametrize("page", pages(), ids=str)
def test_numbers_on_a_page_are_those_of_the_code(page: Path) -> None:
    wrong = {}
    for module, name, number in numbers_on(page):
        value = value_of(module, name)
        if isinstance(value, int | float) and value != number:
            wrong[f"{module}.py:{name}"] = (number, value)
    assert wrong == {}


def test_numbers_are_found_where_the_protocol_page_has_them() -> None:
    found = numbers_on(Path("docs/protocol.md"))
    assert ("kernel/protocol/codec", "MAX_BODY_BYTES", float(4 << 20)) in found
    assert ("engine_worker/session/heartbeat", "Patience.resend_s", 15.0) in found
