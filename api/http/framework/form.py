"""Decodes a form with the fields of a struct: texts as values, files as bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import falcon
import msgspec.inspect as inspect

from api.http.contract.errors import Malformed, TooLarge
from api.http.contract.json_text import strict_json
from api.http.contract.request_parsing import MAX_JSON_BYTES, refuse_compressed
from api.http.contract.validation_errors import ValidationErrors
from api.http.framework.form_parts import FormReader, PartBegan

if TYPE_CHECKING:
    import msgspec

CONTENT_TYPE: Final = "multipart/form-data"
MAX_ENTRIES: Final = 64
"""Entries of a list that comes part by part: no list may be longer."""
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. Texts for lists and objects are parsed."""

    texts: Mapping[str, object]
    files: Mapping[str, tuple[bytes, ...]]


class FormDecoder:
    """Decodes forms with the fields of structs; some of them may come as files."""

    def __init__(
        self,
        kinds: "tuple[type[msgspec.Struct], ...]",
        file_fields: frozenset[str],
        max_bytes: int,
        *,
        repeated: frozenset[str] = frozenset(),
        name_of: Callable[[str], str] = str,
    ) -> None:
        """`repeated`: fields that may have several files; `name_of`: a field by another name that it has."""
        self._file_fields = file_fields
        self._repeated = repeated
        self._name_of = name_of
        self._max_bytes = max_bytes
        self._fields = frozenset(name for kind in kinds for name in kind.__struct_encode_fields__)
        self._lists, self._lists_or_one, self._objects = _shapes(kinds)

    def read(self, req: falcon.Request) -> Form:
        """The form in a request.

        Raises: UnsupportedMediaType, if it is compressed; TooLarge; Malformed, if it is not a valid form;
        InvalidField, if a field for one value is repeated.
        """
        refuse_compressed(req)
        if req.content_length is None:
            raise Malformed("the body is empty: send a form")
        if req.content_length > self._max_bytes:
            raise TooLarge(f"a form must have at most {self._max_bytes} bytes")
        texts: dict[str, list[str]] = {}
        files: dict[str, tuple[bytes, ...]] = {}
        strangers: dict[str, None] = {}
        faults = ValidationErrors()
        for part, data in _parts_of(req):
            name = self._name_of(part.name)
            if name not in self._fields:
                strangers[name] = None  # refused by its name, whatever its value
            elif name in self._file_fields and _is_file(part):
                self._take_file(name, bytes(data), files, faults)
            else:
                texts.setdefault(name, []).append(_text_of(name, data, self._limit_of(name)))
        values = {name: self._value_of(name, said, faults) for name, said in texts.items()}
        faults.raise_if_any()
        return Form({**{name: value for name, value in values.items() if value != ""}, **strangers}, files)

    def _limit_of(self, name: str) -> int:
        """The longest text of a field; an image may come as base64 text."""
        return self._max_bytes if name in self._file_fields else MAX_JSON_BYTES

    def _take_file(
        self, name: str, data: bytes, files: dict[str, tuple[bytes, ...]], faults: ValidationErrors
    ) -> None:
        """Take a file. A page sends an empty file where none was chosen."""
        if name in files and name not in self._repeated:
            faults.wrong(name, "must be sent only once")
        elif data:
            files[name] = (*files.get(name, ()), data)

    def _value_of(self, name: str, said: list[str], faults: ValidationErrors) -> object:
        """The value of a field: one text, or parsed JSON for lists and objects; "" counts as not given."""
        is_list = name in self._lists or name in self._lists_or_one
        if not is_list and name not in self._objects:
            if len(said) > 1:
                faults.wrong(name, "must be sent only once")
            return said[0]
        if len(said) > MAX_ENTRIES:
            faults.wrong(name, f"must be sent at most {MAX_ENTRIES} times")
            return ""
        values = [_value_in(name, text) for text in said if text]
        if len(values) == 1 and (isinstance(values[0], list) or name not in self._lists):
            return values[0]
        if len(values) > 1 and not is_list:
            faults.wrong(name, "must be sent only once")
        return values or ""


def _shapes(
    kinds: "tuple[type[msgspec.Struct], ...]",
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The fields that take only lists, lists or a single value, and objects."""
    lists, either, objects = set[str](), set[str](), set[str]()
    for field in (field for kind in kinds for field in _fields_of(kind)):
        types = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        is_single = any(isinstance(one, inspect.StrType | inspect.FloatType) for one in types)
        if any(isinstance(one, inspect.VarTupleType) for one in types):
            (either if is_single else lists).add(field.encode_name)
        elif any(isinstance(one, inspect.DictType) for one in types):
            objects.add(field.encode_name)
    return frozenset(lists), frozenset(either), frozenset(objects)


def _fields_of(kind: "type[msgspec.Struct]") -> tuple[inspect.Field, ...]:
    struct = inspect.type_info(kind)
    assert isinstance(struct, inspect.StructType), "a form carries the fields of a struct"
    return struct.fields


def _parts_of(req: falcon.Request) -> list[tuple[PartBegan, bytearray]]:
    """The parts of a form, each with all of its data.

    Raises: Malformed, if the form is invalid.
    """
    reader = FormReader(req.content_type)
    parts: list[tuple[PartBegan, bytearray]] = []
    while piece := req.bounded_stream.read(_PIECE_BYTES):
        for event in reader.feed(piece):
            if isinstance(event, PartBegan):
                parts.append((event, bytearray()))
            else:
                parts[-1][1].extend(event.data)
    reader.finish()
    return parts


def _is_file(part: PartBegan) -> bool:
    """True for a part with a file name or a type; without either it is a text, such as base64."""
    return part.file_name is not None or (part.content_type or "text/plain") != "text/plain"


def _text_of(name: str, data: bytearray, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise TooLarge(f"{name}: must have at most {max_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{name}: must be text in UTF-8") from error


def _value_in(name: str, text: str) -> object:
    """A text for a field of lists or objects: parsed if it looks like JSON, else a plain word."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return strict_json(text.encode())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{name}: invalid JSON: {error}") from error
