"""The configuration of this installation: defaults, then the file, then the environment.

Unknown keys are refused, in the file as in the environment, so that a misspelled setting is never ignored.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from conf.keys import ENVIRONMENT_PREFIX, Key, Value, all_keys
from conf.settings import Settings
from conf.values import Unfit, default_value, read_value, read_variable
from kernel.protocol.errors import BadConfiguration

CONFIG_VARIABLE: Final = "SPOON_CONFIG"
URL_VARIABLE: Final = "SPOON_URL"
"""The URL of the API for the command line; it configures the caller, not the server."""


@dataclass(frozen=True, slots=True)
class Effective:
    """One key with its effective value and source: `default`, a file and line, or a variable."""

    key: Key
    value: Value
    origin: str


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The effective settings. Without a path, SPOON_CONFIG names the file, if set.

    Relative folders start at the file's folder, or at the current one if there is no file.
    Raises: BadConfiguration, if the file or a variable is invalid.
    """
    sections: dict[str, dict[str, Value]] = {}
    for one in explain(path, environ):
        sections.setdefault(one.key.section, {})[one.key.field] = one.value
    return msgspec.convert(sections, Settings)


def explain(path: Path | None, environ: Mapping[str, str]) -> tuple[Effective, ...]:
    """Every key with its effective value and source.

    Raises: BadConfiguration, as `load` does.
    """
    file = config_file(path, environ)
    home = (file.parent if file else Path()).absolute()
    keys = {key.path: key for key in all_keys()}
    found = {path: Effective(key, default_value(key, home), "default") for path, key in keys.items()}
    if file:
        found |= {one.key.path: one for one in _from_file(file, keys, home)}
    found |= {one.key.path: one for one in _from_environment(environ, keys, home)}
    return tuple(found.values())


def config_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file that configures this installation, if there is one."""
    named = environ.get(CONFIG_VARIABLE)
    return path or (Path(named) if named else None)


def _from_file(file: Path, keys: Mapping[str, Key], home: Path) -> Iterable[Effective]:
    text = _read_text(file)
    try:
        sections: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{file} is not valid TOML: {error}") from error
    for section, body in sections.items():
        _check_known(section, {key.section for key in keys.values()}, f"{file}: unknown section")
        if not isinstance(body, dict):
            raise BadConfiguration(f"{file}: {section} is a section; write its keys under [{section}]")
        for name, raw in body.items():
            path = f"{section}.{name}"
            _check_known(path, keys, f"{file}: unknown key")
            origin = f"{file}{_line(text, section, name)}"
            try:
                yield Effective(keys[path], read_value(keys[path], raw, home), origin)
            except Unfit as error:
                raise BadConfiguration(f"{origin}: {path}: {error}") from error


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadConfiguration(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file}: cannot read the file: {error}") from error


def _from_environment(environ: Mapping[str, str], keys: Mapping[str, Key], home: Path) -> Iterable[Effective]:
    by_variable = {key.variable: key for key in keys.values()}
    known = {*by_variable, CONFIG_VARIABLE, URL_VARIABLE}
    for variable in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        _check_known(variable, known, "unknown environment variable")
        if variable not in by_variable:
            continue
        key = by_variable[variable]
        try:
            yield Effective(key, read_variable(key, environ[variable], home), variable)
        except Unfit as error:
            raise BadConfiguration(f"{variable}: {error}") from error


def _check_known(name: str, known: Iterable[str], complaint: str) -> None:
    names = set(known)
    if name in names:
        return
    nearest = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.5)
    way_out = f"did you mean {nearest[0]}?" if nearest else "use one of " + ", ".join(sorted(names))
    raise BadConfiguration(f"{complaint} {name}: {way_out}")


def _line(text: str, section: str, name: str) -> str:
    """`:12` if the key is found on line 12, else nothing: tomllib keeps no positions."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.fullmatch(r"\s*\[\s*([\w-]+)\s*\]\s*(#.*)?", line):
            current = header[1]
        stated = f"{current}.{line}" if current else line
        if re.match(rf"\s*{re.escape(section)}\s*\.\s*{re.escape(name)}\s*=", stated):
            return f":{number}"
    return ""
