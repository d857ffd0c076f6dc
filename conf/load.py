"""The configuration of this installation: defaults, then the file, then the environment.

Unknown keys are refused, in the file as in the environment, so that a misspelled setting is never ignored.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from conf.installation import CONFIG_VARIABLE, Installation, locate
from conf.keys import ENVIRONMENT_PREFIX, POOLS, Key, Value, all_keys, pool_keys
from conf.pools import POOL_NAME, mistakes_in
from conf.settings import Settings
from conf.values import Unfit, read_value, read_variable
from kernel.protocol.errors import BadConfiguration, FieldProblem
from kernel.protocol.type_info import analyzed

URL_VARIABLE: Final = "SPOON_URL"
ENGINE_VARIABLE: Final = "SPOON_ENGINE"
KEY_VARIABLE: Final = "SPOON_KEY"
KEY_FILE_VARIABLE: Final = "SPOON_KEY_FILE"
CALLERS_VARIABLES: Final = frozenset(
    {CONFIG_VARIABLE, URL_VARIABLE, ENGINE_VARIABLE, KEY_VARIABLE, KEY_FILE_VARIABLE}
)
"""The configuration file; for the command line the URL of the API, the engine of jobs, and the API key or its
file. They configure the caller alone."""


_MAX_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Effective:
    """One key with its effective value and source: `default`, a file and line, or a variable."""

    key: Key
    value: Value
    origin: str


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The effective settings of the installation that `locate` finds.

    Relative folders start at the configuration file's folder, or at the current one if there is no file.
    Raises: BadConfiguration, if the file or a variable is invalid.
    """
    return settings_of(locate(path, environ), environ)


def settings_of(installation: Installation, environ: Mapping[str, str]) -> Settings:
    """The effective settings of an installation. Raises: BadConfiguration, as `load` does."""
    return _settings(explain(installation, environ))


def explain(installation: Installation, environ: Mapping[str, str]) -> tuple[Effective, ...]:
    """Every key with its effective value and source; the keys of pools for those that the file names.

    Raises: BadConfiguration, as `load` does; it names all mistakes, a line each.
    """
    file, base = installation.file, installation.base
    text = _read_text(file) if file else ""
    sections = _parsed(file, text) if file else {}
    keys = {key.path: key for key in (*all_keys(), *_keys_of_pools(sections))}
    stated: dict[str, Effective] = {}
    mistakes: list[FieldProblem] = []
    from_file = _from_file(file, text, sections, keys, base) if file else ()
    for one in (*from_file, *_from_environment(environ, keys, base)):
        if isinstance(one, Effective):
            stated[one.key.path] = one
        else:
            mistakes.append(one)
    effective = tuple(stated.get(path) or _default(key, installation) for path, key in keys.items())
    if not mistakes and file:
        mistakes.extend(_mistakes_in_pools(file, _settings(effective)))
    if mistakes:
        raise BadConfiguration("\n".join(one.problem for one in mistakes), fields=tuple(mistakes))
    return effective


def _settings(effective: Iterable[Effective]) -> Settings:
    sections: dict[str, dict[str, Value]] = {}
    pools: dict[str, dict[str, Value]] = {}
    for one in effective:
        section, _, pool = one.key.section.partition(".")
        values = pools.setdefault(pool, {}) if section == POOLS else sections.setdefault(section, {})
        values[one.key.field] = one.value
    return msgspec.convert({**sections, POOLS: pools}, analyzed(Settings))


def _keys_of_pools(sections: Mapping[str, object]) -> Iterator[Key]:
    pools = sections.get(POOLS)
    for name in pools if isinstance(pools, dict) else ():
        if POOL_NAME.fullmatch(name):
            yield from pool_keys(name)


def _mistakes_in_pools(file: Path, settings: Settings) -> Iterator[FieldProblem]:
    for name, pool in settings.pools.items():
        for one in mistakes_in(name, pool, settings.bus.workers_endpoint):
            yield _mistake(one.field, f"{file}: {one.problem}")


def _default(key: Key, installation: Installation) -> Effective:
    return Effective(key, installation.default_of(key), installation.origin_of(key))


def _parsed(file: Path, text: str) -> Mapping[str, object]:
    try:
        sections: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{file} is not valid TOML: {error}") from error
    return sections


def _from_file(
    file: Path, text: str, sections: Mapping[str, object], keys: Mapping[str, Key], home: Path
) -> Iterator[Effective | FieldProblem]:
    """Each key of the file with its value, or a sentence about a mistake."""
    sections_known = {key.section for key in keys.values()}
    for section, body in _flat(sections):
        if section.startswith(f"{POOLS}.") and not POOL_NAME.fullmatch(section.removeprefix(f"{POOLS}.")):
            rule = "the name of a pool has small letters, digits, dots, dashes and underscores, at most 63"
            yield _mistake(section, f"{file}: {section}: {rule}")
        elif section not in sections_known and section != POOLS:
            yield _mistake(section, f"{file}: unknown section {section}: {_way_out(section, sections_known)}")
        elif not isinstance(body, dict):
            yield _mistake(section, f"{file}: {section} is a section; write its keys under [{section}]")
        else:
            for name, raw in body.items():
                yield _stated(f"{file}{_line(text, section, name)}", f"{section}.{name}", raw, keys, home)


def _flat(sections: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The sections of a file, and in place of `pools` those below it."""
    for section, body in sections.items():
        if section == POOLS and isinstance(body, dict):
            yield from ((f"{POOLS}.{name}", pool) for name, pool in body.items())
        else:
            yield section, body


def _stated(
    origin: str, path: str, raw: object, keys: Mapping[str, Key], home: Path
) -> Effective | FieldProblem:
    """One key of a file."""
    if path not in keys:
        return _mistake(path, f"{origin}: unknown key {path}: {_way_out(path, keys)}")
    try:
        return Effective(keys[path], read_value(keys[path], raw, home), origin)
    except Unfit as error:
        return _mistake(path, f"{origin}: {path}: {error}")


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadConfiguration(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file}: cannot read the file: {error}") from error


def _from_environment(
    environ: Mapping[str, str], keys: Mapping[str, Key], home: Path
) -> Iterator[Effective | FieldProblem]:
    """Each key that a variable sets, or a sentence about a mistake."""
    by_variable = {key.variable: key for key in keys.values()}
    known = {*by_variable, *CALLERS_VARIABLES}
    for variable in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if variable not in known:
            yield _mistake(variable, f"unknown environment variable {variable}: {_way_out(variable, known)}")
        elif variable in by_variable:
            key = by_variable[variable]
            try:
                yield Effective(key, read_variable(key, environ[variable], home), variable)
            except Unfit as error:
                yield _mistake(variable, f"{variable}: {error}")


def _mistake(field: str, sentence: str) -> FieldProblem:
    return FieldProblem(field=field, problem=sentence)


def _way_out(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if nearest:
        return f"did you mean {nearest[0]}?"
    if len(names) > _MAX_LISTED:
        return f"`spoon config check` without it lists all {len(names)}"
    return "use one of " + ", ".join(names)


def _line(text: str, section: str, name: str) -> str:
    """`:12` if the key is found on line 12, else nothing: tomllib keeps no positions."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.fullmatch(r"\s*\[\s*([\w.-]+)\s*\]\s*(#.*)?", line):
            current = header[1]
        stated = f"{current}.{line}" if current else line
        if re.match(rf"\s*{re.escape(section)}\s*\.\s*{re.escape(name)}\s*=", stated):
            return f":{number}"
    return ""
