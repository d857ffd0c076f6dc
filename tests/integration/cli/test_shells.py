"""`spoon completion` gives each shell a script that completes in it."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi
from tests.own_folders import variables

ROOT = Path(__file__).parents[3]
NAMES = {"items": [{"name": "portraits"}, {"name": "posters"}, {"name": "landscapes"}], "next": None}


@pytest.fixture
def environ(api: FakeApi, tmp_path: Path) -> dict[str, str]:
    """That of a shell in which `spoon` is a command, and finds a server."""
    api.on("GET", "/v1/engines", Answer(body=NAMES))
    command = tmp_path / "bin/spoon"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m api.cli.main "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    return variables() | {"PATH": path, "PYTHONPATH": str(ROOT), "SPOON_URL": api.url, "HOME": str(tmp_path)}


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def said(environ: dict[str, str], *command: str) -> list[str]:
    """The lines that a shell prints, which must not complain."""
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_all_that_is_printed(spoon: Spoon, shell: str) -> None:
    ended = spoon("completion", shell)
    assert (ended.code, ended.err) == (0, "")
    assert f"_SPOON_COMPLETE={shell}_complete" in ended.out


def test_the_help_has_the_line_that_installs_it_for_each_shell(spoon: Spoon) -> None:
    told = spoon("completion", "--help").out
    assert [f"spoon completion {shell}" in told for shell in ("bash", "zsh", "fish")] == [True] * 3


def test_another_shell_is_refused_with_those_that_there_are(spoon: Spoon) -> None:
    ended = spoon("completion", "tcsh")
    assert ended.code == 2
    assert "'bash', 'zsh', 'fish'" in ended.err


@needs("bash")
@pytest.mark.parametrize(
    ("line", "found"),
    [("spoon engines show po", ["portraits", "posters"]), ("spoon comp", ["completion"])],
)
def test_bash_completes_names_and_commands(environ: dict[str, str], line: str, found: list[str]) -> None:
    words = line.split()
    script = (
        'eval "$(spoon completion bash)"; complete -p spoon; '
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _spoon_completion spoon {words[-1]} {words[-2]}; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    registered, *completed = said(environ, "bash", "--norc", "-c", script)
    assert registered.endswith("-F _spoon_completion spoon")
    assert completed == found


@needs("fish")
def test_fish_completes_names_and_commands(environ: dict[str, str], tmp_path: Path) -> None:
    script = "spoon completion fish | source; complete -C 'spoon engines show po'; complete -C 'spoon comp'"
    lines = said(environ | {"XDG_CONFIG_HOME": str(tmp_path)}, "fish", "--no-config", "-c", script)
    assert [line.partition("\t")[0] for line in lines] == ["portraits", "posters", "completion"]


@needs("zsh")
def test_zsh_completes_a_name(environ: dict[str, str]) -> None:
    """At a prompt: the completion of zsh works in its line editor only."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environ | {"TERM": "dumb"}
    ) as shell:
        os.close(theirs)
        os.write(ours, b"autoload -U compinit; compinit -D; eval \"$(spoon completion zsh)\"; echo re'ad'y\n")
        await_text(ours, b"ready\r\n")
        os.write(ours, b"spoon engines show l\t")
        await_text(ours, b"show landscapes")
        shell.kill()
    os.close(ours)


def await_text(terminal: int, text: bytes) -> None:
    """Read until a program has printed the text. The timeout of the test ends the wait."""
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 4096)
