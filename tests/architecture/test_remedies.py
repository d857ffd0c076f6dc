"""What messages and pages tell people to run or to set exists: commands, options, keys, variables, extras."""

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser

import click
import pytest

from api.cli.main import spoon
from conf.keys import all_keys
from conf.load import CALLERS_VARIABLES
from tests.architecture.source_files import ROOT, sources

PAGES = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
KEYS = {key.path for key in all_keys()}
SECTIONS = {key.section for key in all_keys()}
VARIABLES = {key.variable for key in all_keys()} | CALLERS_VARIABLES
NO_KEYS = {"toml", "py", "md", "sql", "json", "zip", "key_secret"}
EXAMPLES = {"server.prot", "models.example", "images.expire_after_s", "SPOON_SECTION_NAME"}
"""A mistake, a host, a field of a struct, and how variables are made."""


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the packages, without the parts that are computed, and every page."""
    for path in sources():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
                yield str(path), "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(path), node.value
    for page in PAGES:
        yield page.name, page.read_text(encoding="utf-8")


def commands() -> set[tuple[str, str]]:
    found = set()
    for place, text in texts():
        found |= {(place, " ".join(one.split())) for one in re.findall(r"`(spoon(?:\s[^`]*)?)`", text)}
    return found


def options_of(command: click.Command) -> set[str]:
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return names | {"--help"}


def wrong_with(line: str) -> str | None:
    """What does not exist of a command; arguments are not looked at, nor are file names before a command."""
    command: click.Command = spoon
    for word in re.sub(r'"[^"]*"', "X", line).split()[1:]:
        if word.startswith("--"):
            if word.partition("=")[0] not in options_of(command):
                return f"{word} is no option"
        elif isinstance(command, click.Group) and re.fullmatch("[a-z-]+", word):
            if word not in command.commands:
                return f"{word} is no command"
            command = command.commands[word]
    return None


def test_commands_are_found() -> None:
    assert len(commands()) > 60
    assert wrong_with("spoon db mend FILE") == "mend is no command"
    assert wrong_with("spoon jbos list") == "jbos is no command"
    assert wrong_with("spoon models add FILE --tpye x") == "--tpye is no option"
    assert wrong_with("spoon --config my.toml models add FILE --type lora") is None


@pytest.mark.parametrize(("place", "line"), sorted(commands()))
def test_every_command_that_is_named_exists(place: str, line: str) -> None:
    assert wrong_with(line) is None, place


def test_every_key_that_a_message_names_exists() -> None:
    named = re.compile(rf"(?<![\w./-])((?:{'|'.join(SECTIONS)})\.[a-z_]+)(?![\w/(-])")
    wrong = {
        (place, key)
        for place, text in texts()
        if " " in text
        for key in named.findall(text)
        if key not in KEYS | EXAMPLES and key.partition(".")[2] not in NO_KEYS
    }
    assert wrong == set()


def test_every_variable_that_is_named_exists() -> None:
    wrong = {
        (place, name)
        for place, text in texts()
        for name in re.findall(r"\bSPOON_[A-Z_]+\b", text)
        if name not in VARIABLES | EXAMPLES
    }
    assert {one for one in wrong if not one[1].endswith("_")} == set()


def test_every_extra_that_is_named_exists() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    named = {
        extra
        for _, text in texts()
        for extras in re.findall(r"pip install [^`\n]*\[([a-z,]+)\]", text)
        for extra in extras.split(",")
    }
    assert named
    assert named <= set(setup["options.extras_require"])
