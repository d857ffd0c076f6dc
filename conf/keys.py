"""The keys that a configuration may have, derived from the structs in conf/settings.py."""

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

import msgspec.inspect as inspect
from msgspec import NODEFAULT

from conf.pools import Pool
from conf.settings import Settings

Value = bool | int | float | str | Path | tuple[Path, ...] | tuple[str, ...] | None

ENVIRONMENT_PREFIX: Final = "SPOON_"
POOLS: Final = "pools"
"""The section whose sections a file names itself."""


class Kind(Enum):
    """How a value is written."""

    DURATION = "duration"
    SIZE = "size"
    NUMBER = "number"
    AMOUNT = "amount"
    """A number that need not be whole."""
    FLAG = "flag"
    TEXT = "text"
    FOLDER = "folder"
    FOLDERS = "folders"
    NAMES = "names"
    NETWORKS = "networks"
    ARGUMENTS = "arguments"
    """A program and its arguments."""
    CHOICE = "choice"


_SUFFIXES: Final = {"_s": Kind.DURATION, "_bytes": Kind.SIZE}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `section.name` in the file, SPOON_SECTION_NAME in the environment."""

    section: str
    name: str
    field: str
    """The name under which msgspec knows it in the section's struct."""
    kind: Kind
    default: Value
    is_optional: bool = False
    lowest: float | None = None
    above: float | None = None
    highest: float | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        return re.sub(r"\W", "_", f"{ENVIRONMENT_PREFIX}{self.section}_{self.name}".upper())


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key but those of pools, in the order of the structs."""
    sections = inspect.type_info(Settings)
    assert isinstance(sections, inspect.StructType)
    found: list[Key] = []
    for section in sections.fields:
        if section.name != POOLS:
            assert isinstance(section.type, inspect.StructType)
            found.extend(_key(section.name, field) for field in section.type.fields)
    return tuple(found)


@cache
def pool_keys(name: str) -> tuple[Key, ...]:
    """The keys of a pool, in the section `pools.NAME`."""
    pool = inspect.type_info(Pool)
    assert isinstance(pool, inspect.StructType)
    return tuple(_key(f"{POOLS}.{name}", field) for field in pool.fields)


def _key(section: str, field: inspect.Field) -> Key:
    kind, suffix = _unit(field.encode_name)
    kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    is_optional = any(isinstance(one, inspect.NoneType) for one in kinds)
    (type_,) = (one for one in kinds if not isinstance(one, inspect.NoneType))
    limits = type_ if isinstance(type_, inspect.IntType | inspect.FloatType) else inspect.IntType()
    assert field.default is not NODEFAULT, "a setting has a default that cannot be changed"
    return Key(
        section=section,
        name=field.encode_name.removesuffix(suffix),
        field=field.encode_name,
        kind=kind or _kind(type_),
        default=field.default,
        is_optional=is_optional,
        lowest=limits.ge,
        above=limits.gt,
        highest=limits.le,
        pattern=_pattern(type_),
        choices=_choices(type_),
    )


def _unit(field: str) -> tuple[Kind | None, str]:
    for suffix, kind in _SUFFIXES.items():
        if field.endswith(suffix):
            return kind, suffix
    return None, ""


def _kind(type_: inspect.Type) -> Kind:
    match type_:
        case inspect.BoolType():
            return Kind.FLAG
        case inspect.IntType():
            return Kind.NUMBER
        case inspect.FloatType():
            return Kind.AMOUNT
        case inspect.StrType():
            return Kind.TEXT
        case inspect.EnumType():
            return Kind.CHOICE
        case inspect.CustomType(cls=cls) if cls is Path:
            return Kind.FOLDER
        case inspect.VarTupleType(item_type=inspect.StrType()):
            return Kind.NAMES
        case inspect.VarTupleType(item_type=inspect.Metadata(extra={"kind": "network"})):
            return Kind.NETWORKS
        case inspect.VarTupleType(item_type=inspect.Metadata(extra={"kind": "argument"})):
            return Kind.ARGUMENTS
        case inspect.VarTupleType():
            return Kind.FOLDERS
        case _:
            raise TypeError(f"a setting cannot be written in a file: {type_}")


def _pattern(type_: inspect.Type) -> str | None:
    if not isinstance(type_, inspect.StrType):
        return None
    return type_.pattern or (r"\S" if type_.min_length else None)


def _choices(type_: inspect.Type) -> tuple[str, ...]:
    return tuple(str(word) for word in type_.cls) if isinstance(type_, inspect.EnumType) else ()
