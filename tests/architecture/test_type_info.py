"""Everything that decodes or converts has the type analyzed first (kernel/protocol/type_info.py)."""

import ast
from collections.abc import Iterator
from typing import Final

from tests.architecture.source_files import ROOT, sources

WITHOUT_NOTES: Final = {"str", "int", "float", "bool", "bytes", "object", "list", "dict", "msgspec"}
"""Types that msgspec notes nothing about, and `msgspec.Raw`."""


def offenders(source: str) -> Iterator[str]:
    """The calls that name a type of ours and do not say `analyzed`."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and (kind := type_in(call)) is not None and not is_safe(kind):
            yield ast.unparse(call)


def type_in(call: ast.Call) -> ast.expr | None:
    """The type that a call of msgspec names."""
    name = ast.unparse(call.func)
    place = {"convert": 1, "Decoder": 0}.get(name.rpartition(".")[2])
    if not name.startswith("msgspec.") or not (place is not None or name.endswith(".decode")):
        return None
    if place is not None and len(call.args) > place:
        return call.args[place]
    return next((keyword.value for keyword in call.keywords if keyword.arg == "type"), None)


def is_safe(kind: ast.expr) -> bool:
    if isinstance(kind, ast.Call) and ast.unparse(kind.func) == "analyzed":
        return True
    return {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)} <= WITHOUT_NOTES


def test_what_the_test_looks_for() -> None:
    wrong = [
        "msgspec.convert(x, Job)",
        "msgspec.json.decode(x, type=Job)",
        "msgspec.json.Decoder(Job | None)",
    ]
    right = [
        "msgspec.convert(x, analyzed(Job))",
        "msgspec.json.decode(x)",
        "msgspec.json.decode(x, type=str)",
    ]
    assert [list(offenders(call)) for call in wrong] == [[call] for call in wrong]
    assert [list(offenders(call)) for call in right] == [[], [], []]


def test_every_type_is_analyzed_before_it_is_used() -> None:
    paths = [path for path in sources() if path.parts[0] != "training"]  # its scripts have one thread
    texts = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in paths}
    del texts["kernel/protocol/type_info.py"]
    assert [f"{path}: {call}" for path, text in texts.items() for call in offenders(text)] == []
    assert [
        path for path, text in texts.items() if "from msgspec.json" in text or "from msgspec.msgpack" in text
    ] == []
