"""One value of the configuration: read from TOML or the environment, and written back."""

import math
import os
import re
import shlex
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final, assert_never

from conf.keys import Key, Kind, Value
from conf.units import parse_duration_s, parse_size_bytes, show_duration, show_size

_NOTHING: Final = ("never", "none")
_MAX_INTEGER: Final = (1 << 63) - 1
"""The largest integer of SQLite and the bus."""
_SEPARATOR: Final = re.compile(f"[,{os.pathsep}]")
"""Between the folders of a variable."""
_FLAGS: Final = {"true": True, "false": False}


class Unfit(ValueError):
    """A value that its key does not allow; the message says what is allowed."""


def read_value(key: Key, raw: object, home: Path) -> Value:
    """The value of a key from parsed TOML. Relative folders start at `home`.

    Raises: Unfit, if the type or the range is wrong.
    """
    if isinstance(raw, str) and raw.strip().lower() in _NOTHING and key.is_optional:
        return None
    value = _read(key, raw, home)
    if value is None or not _is_in_bounds(key, value):
        raise Unfit(f"{_shown(raw)} is not allowed: must be {allowed(key)}")
    return value


def read_variable(key: Key, text: str, home: Path) -> Value:
    """The value of a key, from the text of an environment variable.

    Raises: Unfit, if the text is not a value of that type and range.
    """
    match key.kind:
        case Kind.NUMBER if re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII):
            return read_value(key, int(text), home)
        case Kind.AMOUNT if re.fullmatch(r"\d{1,18}(\.\d{1,18})?", text.strip(), re.ASCII):
            return read_value(key, float(text), home)
        case Kind.ARGUMENTS:
            return read_value(key, _split(text), home)
        case Kind.FLAG:
            return read_value(key, _FLAGS.get(text.strip().lower(), text), home)
        case Kind.FOLDERS:
            return read_value(key, [part.strip() for part in _SEPARATOR.split(text) if part.strip()], home)
        case Kind.NAMES | Kind.NETWORKS:
            return read_value(key, [part.strip() for part in text.split(",") if part.strip()], home)
        case _:
            return read_value(key, text, home)


def default_value(key: Key, home: Path) -> Value:
    """The default of a key, its folders made absolute."""
    match key.default:
        case Path() as folder:
            return _absolute(folder, home)
        case tuple() as folders if key.kind is Kind.FOLDERS:
            return tuple(_absolute(Path(folder), home) for folder in folders)
        case other:
            return other


def show_value(key: Key, value: Value) -> str:
    """A value in the notation of the file."""
    match value:
        case None:
            return '"never"' if key.kind is Kind.DURATION else '"none"'
        case bool():
            return "true" if value else "false"
        case int() if key.kind is Kind.SIZE:
            return f'"{show_size(value)}"'
        case int() | float():
            return f'"{show_duration(value)}"' if key.kind is Kind.DURATION else str(value)
        case tuple():
            return "[" + ", ".join(_quoted(str(folder)) for folder in value) + "]"
        case str() | Path():
            return _quoted(str(value))
        case _:
            assert_never(value)


def allowed(key: Key) -> str:
    """The allowed values of a key, in words."""
    words = {
        Kind.DURATION: 'a duration such as "90s", "10m" or "7d"',
        Kind.SIZE: 'a size such as "50GB" or "1GiB"',
        Kind.NUMBER: "a whole number",
        Kind.AMOUNT: "a number",
        Kind.FLAG: "true or false",
        Kind.TEXT: "a string",
        Kind.FOLDER: "a folder path",
        Kind.FOLDERS: "a list of folder paths",
        Kind.NAMES: "a list of names",
        Kind.NETWORKS: 'a list of IP addresses and networks, such as ["127.0.0.1", "10.0.0.0/8"]',
        Kind.ARGUMENTS: 'a program and its arguments, such as ["ssh", "host"]',
        Kind.CHOICE: "one of " + ", ".join(map(_quoted, key.choices)),
    }[key.kind]
    if key.kind is Kind.TEXT and key.pattern and key.pattern.startswith("^tcp"):
        words = 'an address such as "tcp://192.168.1.2:7871"'
    elif key.pattern:
        words = words.replace("a string", "a non-empty string")
    words += _bounds(key)
    return f'{words}, or "{"never" if key.kind is Kind.DURATION else "none"}"' if key.is_optional else words


def _read(key: Key, raw: object, home: Path) -> Value:
    """The value, or None if the type is wrong. TOML's booleans do not count as numbers."""
    match key.kind, raw:
        case Kind.FLAG, bool():
            return raw
        case _, bool():
            return None
        case _, int() if abs(raw) > _MAX_INTEGER:
            return None
        case Kind.NUMBER | Kind.SIZE, int():
            return raw
        case Kind.DURATION | Kind.AMOUNT, int() | float():
            return float(raw)
        case Kind.DURATION | Kind.SIZE, str():
            return _parsed(key, raw)
        case Kind.TEXT, str():
            return raw
        case Kind.CHOICE, str() if raw in key.choices:
            return raw
        case Kind.FOLDER, str() if _is_path(raw):
            return _absolute(Path(raw), home)
        case Kind.FOLDERS, list() if all(isinstance(part, str) and _is_path(part) for part in raw):
            return tuple(_absolute(Path(str(part)), home) for part in raw)
        case Kind.ARGUMENTS, list() if all(isinstance(part, str) and "\0" not in part for part in raw):
            return tuple(str(part) for part in raw)
        case Kind.NAMES, list() if all(isinstance(part, str) and part.strip() for part in raw):
            return tuple(str(part) for part in raw)
        case Kind.NETWORKS, list() if all(isinstance(part, str) and _is_network(part) for part in raw):
            return tuple(str(part) for part in raw)
        case _:
            return None


def _split(text: str) -> list[str]:
    """The arguments in a variable, quoted as for a shell."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Unfit(f"{_shown(text)} is not allowed: {error}") from error


def _parsed(key: Key, text: str) -> float | int | None:
    try:
        return parse_duration_s(text) if key.kind is Kind.DURATION else parse_size_bytes(text)
    except ValueError:
        return None


def _is_in_bounds(key: Key, value: Value) -> bool:
    if isinstance(value, str):
        return key.pattern is None or re.search(key.pattern, value) is not None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (
        math.isfinite(value)
        and (key.lowest is None or value >= key.lowest)
        and (key.above is None or value > key.above)
        and (key.highest is None or value <= key.highest)
    )


def _bounds(key: Key) -> str:
    plain = replace(key, is_optional=False)
    if key.lowest is not None and key.highest is not None:
        return f" from {_bound(plain, key.lowest)} to {_bound(plain, key.highest)}"
    if key.lowest is not None:
        return f", {_bound(plain, key.lowest)} or more"
    if key.above is not None and key.highest is not None:
        return f", more than {_bound(plain, key.above)} and at most {_bound(plain, key.highest)}"
    return ""


def _bound(key: Key, bound: float) -> str:
    return show_value(key, float(bound) if key.kind is Kind.DURATION else int(bound)).strip('"')


def _is_path(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text


def _is_network(text: str) -> bool:
    """True for an address, and for a network whose address has no bits of a host."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _absolute(folder: Path, home: Path) -> Path:
    try:
        return home / folder.expanduser()
    except RuntimeError as error:
        raise Unfit(f"{folder}: {error}") from error


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _shown(raw: object) -> str:
    text = _quoted(raw) if isinstance(raw, str) else str(raw).lower() if isinstance(raw, bool) else str(raw)
    return text if len(text) <= 80 else text[:77] + "..."
