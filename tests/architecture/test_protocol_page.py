"""docs/protocol.md says what the code says: every message, field, type, default, word, error and byte."""

import re
from enum import StrEnum
from typing import Final

import msgspec
import pytest

from kernel.protocol import (
    api_keys,
    client,
    codec,
    enums,
    errors,
    header,
    join,
    memory,
    model_refs,
    presets,
    specs,
    status,
    values,
    webhooks,
    worker,
    worker_tokens,
)
from kernel.protocol.ids import Epoch
from tests.architecture.source_files import ROOT
from tests.architecture.tables import Row, rows_after
from tests.architecture.wire_words import field_rows

PAGE: Final = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
MODULES: Final = {
    "client": client,
    "worker": worker,
    "specs": specs,
    "ingredients": model_refs,
    "memory": memory,
    "join": join,
    "api_keys": api_keys,
    "webhooks": webhooks,
    "presets": presets,
    "errors": errors,
    "status": status,
    "values": values,
    "worker_tokens": worker_tokens,
}
SPECIAL_TYPES: Final = {
    ("client.Command", "ask"): "Ask",
    ("client.ApiCommand", "ask"): "ApiAsk",
}
"""Unions that the page calls by their name instead of listing them in a cell."""


def wire_structs() -> dict[str, type[msgspec.Struct]]:
    """Everything that can be on the wire, as the page names it."""
    return {
        f"{name}.{kind.__name__}": kind
        for name, module in MODULES.items()
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }


def heading_of(name: str) -> str:
    return f"**`{name}`** "


@pytest.mark.parametrize("name", wire_structs())
def test_the_page_has_every_field_with_its_type_and_default(name: str) -> None:
    assert heading_of(name) in PAGE, f"docs/protocol.md does not name {name}"
    expected = [
        Row((f"`{field}`", SPECIAL_TYPES.get((name, field), words), default))
        for field, words, default in field_rows(wire_structs()[name])
    ]
    found = rows_after(PAGE, heading_of(name)) if expected else []
    assert [Row(row.cells[:3]) for row in found] == expected
    assert all(row.cells[3] for row in found), "a field without a meaning"


def test_the_page_names_no_message_that_is_gone() -> None:
    named = re.findall(r"^\*\*`(\w+\.\w+)`\*\* ", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(wire_structs())


def test_a_message_is_described_in_the_words_of_its_docstring() -> None:
    wrong = [
        name
        for name, kind in wire_structs().items()
        if f"{heading_of(name)}{(kind.__doc__ or '').splitlines()[0]}\n" not in PAGE
    ]
    assert wrong == []


def test_the_page_has_every_word_of_the_vocabulary() -> None:
    expected = [
        Row((f"`{name}`", ", ".join(f"`{word.value}`" for word in kind)))
        for name, kind in vars(enums).items()
        if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum
    ]
    assert rows_after(PAGE, "## Vocabulary") == expected


def test_the_page_has_every_error_code() -> None:
    expected = [
        Row((f"`{kind.code}`", (kind.__doc__ or "").splitlines()[0]))
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.SpoonError)
    ]
    assert rows_after(PAGE, "## Error codes") == expected


def test_the_page_lays_out_the_head_as_it_is_packed() -> None:
    rows = rows_after(PAGE, "HEAD has exactly")
    assert f"HEAD has exactly {header.SIZE_BYTES} bytes" in PAGE
    lengths = [int(row.cells[1]) for row in rows]
    assert [int(row.cells[0]) for row in rows] == [sum(lengths[:n]) for n in range(len(lengths))]
    assert sum(lengths) == header.SIZE_BYTES


def test_the_example_is_what_goes_over_the_wire() -> None:
    frames = codec.encode(worker.Ping(), epoch=Epoch(3))
    shown = [re.search(rf"^{name}  ([0-9a-f ]+)$", PAGE, re.MULTILINE) for name in ("head", "body")]
    assert [bytes.fromhex(found[1]) for found in shown if found] == frames


def test_the_roles_of_workers_may_say_what_the_page_says() -> None:
    found = re.search(r"The role `engine` may send ([^;]+); the role `fetch` ([^.]+)\.", PAGE)
    assert found is not None
    said = [set(re.findall(r"\w+", words)) - {"and"} for words in found.groups()]
    assert said == [
        {kind.__name__ for kind in union.__args__} for union in (worker.EngineReport, worker.FetchReport)
    ]
