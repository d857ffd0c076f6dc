"""No test reads or writes the folders of the person who runs the tests."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import pytest

from conf.installation import FOLDER_KEYS, locate, of_file, user_file
from conf.load import explain
from tests.architecture.source_files import ROOT
from tests.own_folders import VARIABLES

INHERITED = ("os.environ", "environment(", "variables(", "worker_environ(")
"""What an environment for a child process begins with."""


def test_the_folders_of_an_installation_without_a_name_are_temporary() -> None:
    temporary = [os.environ[name] for name in VARIABLES]
    folders = [one.value for one in explain(of_file(user_file()), {}) if one.key.path in FOLDER_KEYS]
    assert len(folders) == len(FOLDER_KEYS)
    for place in (user_file(), *folders):
        assert any(Path(str(place)).is_relative_to(folder) for folder in temporary)
    assert all(Path(folder).is_relative_to(gettempdir()) for folder in temporary)


def test_without_a_name_a_test_finds_the_file_of_the_tests_before_that_of_this_machine() -> None:
    assert locate(None, {}).file == user_file()


def calls_with_env(tree: ast.AST) -> Iterator[ast.expr]:
    """The values of `env=` in calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (word.value for word in node.keywords if word.arg == "env")


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("*.py")), ids=lambda file: file.name)
def test_a_process_with_an_environment_of_its_own_gets_these_folders(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if any(calls_with_env(ast.parse(text))):
        assert any(word in text for word in INHERITED)
