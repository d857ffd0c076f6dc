"""The fields of a wire struct in the words of docs/protocol.md: names, msgpack types, defaults."""

import json
from enum import Enum

import msgspec
from msgspec import inspect

REQUIRED = "required"


def field_rows(kind: type[msgspec.Struct]) -> list[tuple[str, str, str]]:
    """The name, type and default of each field that the struct itself declares: a row of the page."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    own = [field for field in info.fields if field.name in kind.__annotations__]
    return [(field.encode_name, type_words(field.type), default_words(field)) for field in own]


def type_words(found: inspect.Type) -> str:
    """A type as somebody without Python reads it; enums and structs by their names."""
    match found:
        case inspect.UnionType(types=types):
            *others, last = [type_words(one) for one in sorted(types, key=_none_comes_last)]
            return f"{', '.join(others)} or {last}"
        case inspect.Metadata(type=inner):
            return type_words(inner)
        case inspect.VarTupleType(item_type=item):
            return f"array of {type_words(item)}"
        case inspect.TupleType(item_types=items):
            (word,) = {type_words(item) for item in items}
            return f"array of {len(items)} {word}"
        case inspect.DictType(key_type=key, value_type=value):
            return f"map of {type_words(key)} to {type_words(value)}"
        case inspect.EnumType(cls=cls) | inspect.StructType(cls=cls):
            return cls.__name__
        case inspect.NoneType():
            return "nil"
        case inspect.BytesType():
            return "bin"
        case inspect.StrType() | inspect.IntType() | inspect.FloatType() | inspect.BoolType():
            return type(found).__name__.removesuffix("Type").lower()
        case _:
            raise TypeError(f"docs/protocol.md has no word for {found}")


def default_words(field: inspect.Field) -> str:
    """What is meant when the field is left out."""
    if field.required:
        return REQUIRED
    if field.default_factory is not msgspec.NODEFAULT:
        return json.dumps(field.default_factory())
    default = field.default
    if default is None:
        return "nil"
    return default.value if isinstance(default, Enum) else json.dumps(default)


def _none_comes_last(found: inspect.Type) -> bool:
    return isinstance(found, inspect.NoneType)
