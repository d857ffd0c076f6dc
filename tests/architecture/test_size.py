"""Files and functions stay short enough to be read in one go, and files long enough to be worth opening."""

import ast
from collections.abc import Iterator

from tests.architecture.source_files import ROOT, sources

MAX_FILE_LINES = 500
MIN_FILE_LINES = 30
MAX_FUNCTION_LINES = 40

SHORT_FILES = {
    "api/installation/diagnosis.py": "what several checks of the doctor return",
    "kernel/protocol/prompts.py": "limits that API and worker share",
    "kernel/protocol/version.py": "read by the build",
    "kernel/views/events.py": "the queries of one .sql file",
    "kernel/views/presets.py": "the queries of one .sql file",
    "kernel/views/worker_tokens.py": "the queries of one .sql file",
    "kernel/views/named_sql.py": "shared by all views",
}
EXEMPT_FUNCTIONS = {
    "api/http/routes.py:routes": "every route on one screen",
}


def functions() -> Iterator[tuple[str, int]]:
    """Every function of the packages as `file:name`, with its length in lines, decorators not counted."""
    for path in sources():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield f"{path}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def lengths() -> dict[str, int]:
    return {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in sources()}


def test_no_file_is_longer_than_500_lines() -> None:
    assert {path: length for path, length in lengths().items() if length > MAX_FILE_LINES} == {}


def test_no_file_is_shorter_than_30_lines() -> None:
    """A file of a few lines belongs into the one that imports it."""
    too_short = {path: length for path, length in lengths().items() if 0 < length < MIN_FILE_LINES}
    assert {path: length for path, length in too_short.items() if path not in SHORT_FILES} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    too_long = {name: length for name, length in functions() if length > MAX_FUNCTION_LINES}
    assert {name: length for name, length in too_long.items() if name not in EXEMPT_FUNCTIONS} == {}
    assert set(EXEMPT_FUNCTIONS) <= set(too_long), "an exemption is no longer needed"


def test_every_module_says_in_its_first_line_what_lives_there() -> None:
    empty = {path for path in sources() if (ROOT / path).stat().st_size == 0}
    silent = [
        str(path)
        for path in sources()
        if path not in empty and not ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert silent == []
