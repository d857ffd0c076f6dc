"""Writes the pages of docs/ that are made from the code, or checks that they are what it would write.

    python -m docs.generate            # write them
    python -m docs.generate --check    # exit 1 when one is out of step

A page is a function that returns its text, entered in PAGES.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from api.cli.exit_codes import MEANINGS
from api.cli.main import spoon
from docs.map_page import map_page
from docs.states_page import states_page

FOLDER: Final = Path(__file__).parent
_NOTICE: Final = "<!-- Made by `python -m docs.generate`; do not edit. -->"
_WIDTH: Final = 100


def cli_page() -> str:
    """The command line reference: what every --help says, and the exit codes."""
    lines = ["# The command line", "", _NOTICE, ""]
    lines += [
        "Global options go before the subcommand: `spoon --config my.toml jobs list`.",
        "`serve`, `manager` and `api` also accept `--config` after it.",
        "",
        "The shell completes commands, options, and the names of engines and models once it has the script",
        "of [`spoon completion`](#spoon-completion).",
        "",
    ]
    for path, command in _commands(("spoon",), spoon):
        lines += [f"{'##' if len(path) == 1 else '###'} {' '.join(path)}", "", "```text"]
        lines += [_help(path, command), "```", ""]
    lines += ["## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    lines += [
        "",
        "With `--json`, an error is one line of JSON on stderr, the last one: `code` (that of the REST API, "
        "or `usage`, `os_error`, `aborted`), `detail`, and `fields`, each with `field` and `problem`.",
        "",
        "`serve`, `manager`, `api` and `worker` turn into the process that they start and return [its exit "
        "code](operations.md#exit-codes).",
    ]
    return "\n".join(lines) + "\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "cli.md": cli_page,
    "map.md": lambda: map_page(_NOTICE),
    "states.md": lambda: states_page(_NOTICE),
}


def out_of_step() -> list[str]:
    """The names of the pages that differ from what the code says."""
    return [name for name, page in PAGES.items() if _text_of(FOLDER / name) != page()]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m docs.generate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 when a page is out of step"
    )
    stale = out_of_step()
    if parser.parse_args().check:
        for name in stale:
            print(f"docs/{name} is out of step: run `python -m docs.generate`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/{name} written")
    return 0


def _commands(
    path: tuple[str, ...], command: click.Command
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, in the order of the alphabet."""
    yield path, command
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from _commands((*path, name), child)


def _help(path: tuple[str, ...], command: click.Command) -> str:
    """What --help says, at a fixed width, whatever terminal this runs in."""
    context: click.Context | None = None
    for name in path[:-1]:
        context = click.Context(click.Group(name), info_name=name, parent=context)
    settings = {"help_option_names": ["-h", "--help"], "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    with command.make_context(path[-1], [], parent=context, resilient_parsing=True, **settings) as shown:
        return "\n".join(line.rstrip() for line in command.get_help(shown).splitlines())


def _text_of(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None


if __name__ == "__main__":
    sys.exit(main())
