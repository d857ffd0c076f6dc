"""`spoon mcp`, as far as it does not serve."""

import sys

import pytest

from tests.integration.cli.command import Spoon


def test_without_its_packages_the_command_that_adds_them_is_named(
    spoon: Spoon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    ended = spoon("mcp")
    assert ended.code != 0
    assert "`spoon mcp` needs one more set of packages: " in ended.err
    assert "mcp" in ended.err.partition("packages: ")[2]
    assert "[not_installed]" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--http", "70000"), "70000 is not in the range"),
        (("--http", "x"), "'x' is not a valid integer"),
        (("--files", "/nowhere/at/all"), "does not exist"),
        (("--http", "0", "--files", "/tmp"), "--files cannot be used with --http"),
    ],
)
def test_a_wrong_option_is_named(spoon: Spoon, options: tuple[str, ...], said: str) -> None:
    pytest.importorskip("mcp")
    ended = spoon("mcp", *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_an_address_that_is_not_of_this_machine_is_named(spoon: Spoon) -> None:
    pytest.importorskip("mcp")
    ended = spoon("mcp", "--http", "0", "--host", "203.0.113.7")
    assert ended.code == 1
    assert ended.out == ""
    assert "Cannot assign requested address" in ended.err
