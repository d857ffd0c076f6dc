"""The configuration file that `spoon init` writes: what differs from the defaults, each with its comment."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from conf.installation import FOLDER_KEYS, Installation
from conf.keys import Key, Value, all_keys
from conf.load import explain
from conf.values import show_value
from kernel.protocol.errors import BadConfiguration, Conflict

_HEAD: Final = """\
# The configuration of automatic-spoon, from `spoon init`. Restart the server after a change.
# `spoon config check` prints every key with its value and source.
"""


class Reach(StrEnum):
    """Who may use the server."""

    THIS_MACHINE = "this-machine"
    NETWORK = "network"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to be reachable like that."""

    description: str
    host: str | None
    """The value of server.host; None: its default."""
    warning: str | None = None
    proxies: tuple[str, ...] = ()
    """The value of server.trusted_proxies."""
    name_question: str | None = None
    """Asks for the host name that browsers use, which has to be allowed; None, if they use localhost."""


ACCESS: Final[Mapping[Reach, Access]] = {
    Reach.THIS_MACHINE: Access("programs and browsers on this machine", host=None),
    Reach.NETWORK: Access(
        "every machine in your network",
        host="0.0.0.0",
        warning="the server starts there only once it has an API key, and then everybody needs one: "
        "spoon keys create me --role admin; for TLS put a proxy in front (SECURITY.md)",
        name_question="Host name of this machine in the network",
    ),
    Reach.PROXY: Access(
        "those whom a proxy on this machine lets through",
        host=None,
        warning="the server starts there only once it has an API key, and then everybody needs one: "
        "spoon keys create me --role admin; the proxy must have TLS (docs/keys.md)",
        proxies=("127.0.0.1", "::1"),
        name_question="Host name of the proxy",
    ),
}


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to the questions of `spoon init`."""

    folders: Sequence[Path]
    """Absolute."""
    port: int
    reach: Reach
    names: Sequence[str] = ()
    """Host names of the server, where it has some."""


def values_of(answers: Answers) -> dict[str, Value]:
    """What the answers say about keys, defaults included."""
    access = ACCESS[answers.reach]
    values: dict[str, Value] = {"models.folders": tuple(answers.folders), "server.port": answers.port}
    if access.host is not None:
        values["server.host"] = access.host
    if access.name_question:
        values["server.allowed_hosts"] = tuple(answers.names)
    values["server.trusted_proxies"] = access.proxies
    return values


def own_folders(installation: Installation, environ: Mapping[str, str]) -> dict[str, Value]:
    """The folders that an installation has now, so that a configuration in another place keeps them.

    Raises: BadConfiguration.
    """
    return {one.key.path: one.value for one in explain(installation, environ) if one.key.path in FOLDER_KEYS}


def configuration(values: Mapping[str, Value], installation: Installation) -> str:
    """The text of a file for an installation: a section for each value that differs from its default."""
    comments = dict(_comments())
    lines, section = [_HEAD], ""
    for key in all_keys():
        if key.path not in values or values[key.path] == installation.default_of(key):
            continue
        if key.section != section:
            section = key.section
            lines.append(f"\n[{section}]\n")
        lines.append(f"{comments[key.path]}{key.name} = {show_value(key, values[key.path])}\n")
    return "".join(lines)


def key_of(path: str) -> Key:
    """The key with that path."""
    return next(key for key in all_keys() if key.path == path)


def write_configuration(file: Path, text: str, *, is_forced: bool) -> None:
    """Write the file; a folder that is not there becomes this user's alone.

    Raises: Conflict, if the file exists and may not be replaced; BadConfiguration, if it cannot be written.
    """
    try:
        file.parent.mkdir(0o700, parents=True, exist_ok=True)
        with file.open("w" if is_forced else "x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        if isinstance(error, FileExistsError) and not is_forced:
            refuse_existing(file)
        raise BadConfiguration(
            f"cannot write {file}: {error.strerror}; name another file: spoon --config FILE init"
        ) from error


def refuse_existing(file: Path) -> None:
    """Raises: Conflict, if the file exists."""
    if os.path.lexists(file):
        raise Conflict(f"{file} already exists; edit it, or pass --force to replace it")


def _comments() -> Iterator[tuple[str, str]]:
    """What conf/spoon.toml says above each key."""
    from importlib import resources

    section, comment = "", ""
    for line in resources.files("conf").joinpath("spoon.toml").read_text(encoding="utf-8").splitlines(True):
        if header := re.match(r"\[(\w+)\]", line):
            section, comment = header[1], ""
        elif line.startswith("# "):
            comment += line
        elif found := re.match(r"#?(\w+) = ", line):
            yield f"{section}.{found[1]}", comment
            comment = ""
