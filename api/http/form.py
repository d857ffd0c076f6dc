"""A multipart/form-data body (RFC 7578): its texts as values for a struct, and its files as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import falcon
import msgspec.inspect as inspect
from falcon.media.multipart import MultipartFormHandler, MultipartParseOptions

from api.http.errors import Malformed, TooLarge
from api.http.findings import Findings
from api.http.reading import MAX_JSON_BYTES, refuse_compressed, strict_json

if TYPE_CHECKING:
    import msgspec
    from falcon.media.multipart import BodyPart

CONTENT_TYPE: Final = "multipart/form-data"
MAX_PARTS: Final = 128


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. A text that stands for a list or an object has been read."""

    texts: Mapping[str, object]
    files: Mapping[str, bytes]


class FormReader:
    """Reads forms that carry the fields of one struct; some of them may come as files."""

    def __init__(self, kind: "type[msgspec.Struct]", file_fields: frozenset[str], max_bytes: int) -> None:
        self._file_fields = file_fields
        self._max_bytes = max_bytes
        self._fields = frozenset(kind.__struct_fields__)
        self._lists, self._lists_or_one, self._objects = _shapes(kind)
        options = MultipartParseOptions()
        options.max_body_part_count = MAX_PARTS
        options.max_body_part_buffer_size = max_bytes
        self._handler = MultipartFormHandler(options)

    def read(self, req: falcon.Request) -> Form:
        """The form that the request carries, part by part.

        Raises: UnsupportedMediaType, if it is compressed; TooLarge; Malformed, if it is no right form;
        InvalidField, if a field comes twice that takes one value.
        """
        refuse_compressed(req)
        if req.content_length is None:
            raise Malformed("the body is empty: send a form")
        if req.content_length > self._max_bytes:
            raise TooLarge(f"a form may have at most {self._max_bytes} bytes")
        texts: dict[str, list[str]] = {}
        files: dict[str, bytes] = {}
        strangers: dict[str, None] = {}
        findings = Findings()
        for part in self._handler.deserialize(req.bounded_stream, req.content_type, req.content_length):
            name, is_file = _head_of(part)
            if name not in self._fields:
                strangers[name] = None  # whatever it is: it is refused by its name
            elif is_file and name in self._file_fields:
                self._take_file(name, part.get_data(), files, findings)
            else:
                texts.setdefault(name, []).append(_text_of(name, part.get_data(), self._limit_of(name)))
        values = {name: self._value_of(name, said, findings) for name, said in texts.items()}
        findings.raise_if_any()
        return Form({**{name: value for name, value in values.items() if value != ""}, **strangers}, files)

    def _limit_of(self, name: str) -> int:
        """How long a text may be: a picture may come as one, in base64."""
        return self._max_bytes if name in self._file_fields else MAX_JSON_BYTES

    def _take_file(self, name: str, data: bytes, files: dict[str, bytes], findings: Findings) -> None:
        """An empty file is what a page sends where nothing was chosen."""
        if name in files:
            findings.wrong(name, "comes twice")
        elif data:
            files[name] = data

    def _value_of(self, name: str, said: list[str], findings: Findings) -> object:
        """One text, or what a JSON text says where a list or an object is meant; "" stands for not given."""
        is_list = name in self._lists or name in self._lists_or_one
        if not is_list and name not in self._objects:
            if len(said) > 1:
                findings.wrong(name, "comes twice")
            return said[0]
        values = [_value_in(name, text) for text in said if text]
        if len(values) == 1 and (isinstance(values[0], list) or name not in self._lists):
            return values[0]
        if len(values) > 1 and not is_list:
            findings.wrong(name, "comes twice")
        return values or ""


def _shapes(kind: "type[msgspec.Struct]") -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The fields that take lists only, lists or a single value, and objects."""
    lists, either, objects = set[str](), set[str](), set[str]()
    struct = inspect.type_info(kind)
    assert isinstance(struct, inspect.StructType), "a form carries the fields of a struct"
    for field in struct.fields:
        kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        is_single = any(isinstance(one, inspect.StrType | inspect.FloatType) for one in kinds)
        if any(isinstance(one, inspect.VarTupleType) for one in kinds):
            (either if is_single else lists).add(field.encode_name)
        elif any(isinstance(one, inspect.DictType) for one in kinds):
            objects.add(field.encode_name)
    return frozenset(lists), frozenset(either), frozenset(objects)


def _head_of(part: "BodyPart") -> tuple[str, bool]:
    """The name of the field, and whether it is a file: one has a name or a type of its own."""
    try:
        name, file_name, content_type = part.name, part.filename, part.content_type
    except UnicodeDecodeError as error:
        raise Malformed("the head of a part is no text in UTF-8") from error
    if not name:
        raise Malformed("a part of the form has no name")
    return name, file_name is not None or content_type.partition(";")[0].strip() != "text/plain"


def _text_of(name: str, data: bytes, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise TooLarge(f"{name}: a text may have at most {max_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{name}: the part is no text in UTF-8") from error


def _value_in(name: str, text: str) -> object:
    """What a text means for a field of lists or objects: JSON where it looks like it, else a word."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{name}: this is not right JSON: {error}") from error
