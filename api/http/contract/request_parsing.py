"""Parses a request to a typed input, or to the list of all its errors."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final, Generic, TypeVar

import falcon
import msgspec
from msgspec import inspect

from api.http.contract.caller import caller_of
from api.http.contract.enum_choices import respelled, wrong_choice
from api.http.contract.errors import Malformed, TooLarge, UnsupportedMediaType
from api.http.contract.field_aliases import our_name
from api.http.contract.json_text import check_shape, strict_json
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.error_texts import TOO_MUCH, in_words
from kernel.protocol.errors import InvalidField, SpoonError, wrong_field
from kernel.protocol.ids import KeyId
from kernel.protocol.type_info import analyzed

Input = TypeVar("Input", bound=msgspec.Struct)
Check = Callable[[Input, ValidationErrors], None]

MAX_JSON_BYTES: Final = 1 << 20
"""The longest JSON body; it fits two of the longest prompts in four-byte characters."""
MAX_KEY: Final = 200
JSON: Final = "application/json"


class BodyReader(Generic[Input]):
    """Parses JSON bodies of one type. Only an invalid body is decoded twice, to check it field by field."""

    def __init__(
        self,
        kind: type[Input],
        later: frozenset[str],
        check: Check[Input],
        max_bytes: int = MAX_JSON_BYTES,
    ) -> None:
        self._kind = kind
        self._later = later
        self._check = check
        self._max_bytes = max_bytes
        self._decoder = msgspec.json.Decoder(analyzed(kind))

    def read(self, req: falcon.Request) -> Input:
        """The input in a request.

        Raises: UnsupportedMediaType, if it is not JSON; TooLarge; Malformed, if it is invalid JSON;
        InvalidField or NotSupported with every wrong field.
        """
        return self.read_body(self.body_of(req))

    def read_body(self, body: bytes) -> Input:
        """The input in a body. Raises: as `read`."""
        try:
            return self._right(body)
        except msgspec.ValidationError:
            return read_fields(self._kind, self.fields_of(body), self._later, self._check, strict=True)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"invalid JSON: {error}") from error

    def read_if_right(self, headers: Mapping[str, str], body: bytes) -> Input | None:
        """The input in a request with these headers, by their names in WSGI; None, if it has an error, which
        `read` reports."""
        try:
            _check_type(headers.get("CONTENT_TYPE"), headers.get("CONTENT_ENCODING"))
            check_shape(body)
            return self._right(body)
        except (SpoonError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def body_of(self, req: falcon.Request) -> bytes:
        """The bytes of a request that says JSON. Raises: UnsupportedMediaType; TooLarge; Malformed."""
        _check_type(req.content_type, req.get_header("Content-Encoding"))
        body = _bytes_of(req, self._max_bytes)
        check_shape(body)
        return body

    def _right(self, body: bytes) -> Input:
        """Raises: SpoonError; msgspec's errors, if it cannot decode the body."""
        found = self._decoder.decode(body)
        self._read_strictly(body)
        _check_all(found, self._check)
        return found

    def _read_strictly(self, body: bytes) -> object:
        try:
            return strict_json(body)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"invalid JSON: {error}") from error

    def fields_of(self, body: bytes) -> dict[str, object]:
        """What a body gives, without nulls, which mean "not given". Enum values may have other spellings.

        Raises: Malformed; InvalidField, if it is not an object.
        """
        found = self._read_strictly(body)
        with suppress(msgspec.DecodeError):  # for the whole texts of images; 1e400 it cannot read
            found = msgspec.json.decode(body)
        raw = _without_nulls(_described(self._kind), found)
        if not isinstance(raw, dict):
            raise wrong_field("$", "the body must be a JSON object")
        return raw


@lru_cache
def _described(kind: type[msgspec.Struct]) -> inspect.Type:
    """A type as msgspec describes it, which takes a millisecond."""
    return inspect.type_info(kind)


def _without_nulls(kind: inspect.Type, value: object) -> object:
    """Leave out each member that is null and known, unless null says something else there than its absence;
    an unknown one is an error, whatever it holds."""
    match kind, value:
        case inspect.StructType(), dict():
            known = {field.encode_name: field for field in kind.fields}
            return {
                name: _without_nulls(known[name].type, one) if name in known else one
                for name, one in value.items()
                if one is not None or name not in known or _can_be_unset(known[name])
            }
        case inspect.DictType(), dict():
            return {name: one for name, one in value.items() if one is not None}
        case inspect.VarTupleType(), list():
            return [_without_nulls(kind.item_type, one) for one in value]
        case inspect.Metadata(), _:
            return _without_nulls(kind.type, value)
        case inspect.UnionType(), dict() | list():
            for one in kind.types:
                value = _without_nulls(one, value)
            return value
        case _:
            return value


def _can_be_unset(field: inspect.Field) -> bool:
    """True if its default is UNSET, which is described as none, so that null differs from its absence."""
    has_default = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    return not field.required and not has_default


class QueryReader(Generic[Input]):
    """Parses query strings of one type."""

    def __init__(self, kind: type[Input], check: Check[Input] | None = None) -> None:
        self._kind = kind
        self._check: Check[Input] = check or find_nothing
        self._empty: Input | None = None
        """The input of an empty query string, once it was read: most requests have none."""

    def read(self, req: falcon.Request) -> Input:
        """The input in a query string.

        Raises: InvalidField with every wrong parameter.
        """
        if not req.query_string and self._empty is not None:
            return self._empty
        params: Mapping[str, object] = req.params if req.query_string else {}

        def check(found: Input, faults: ValidationErrors) -> None:
            for name in params:
                if getattr(found, name, name) is None:  # decoded from the text `null`; a query has no null
                    faults.wrong(name, "must not be null: omit it")
            self._check(found, faults)

        found = read_fields(self._kind, params, frozenset(), check, strict=False)
        if not req.query_string:
            self._empty = found
        return found


def read_fields(
    kind: type[Input],
    raw: Mapping[str, object],
    later: frozenset[str],
    check: Check[Input],
    *,
    strict: bool,
) -> Input:
    """The input with these fields; unless `strict`, numbers and flags may be texts (forms, queries).

    Raises: InvalidField or NotSupported with every wrong field.
    """
    spelled = respelled(kind, raw)
    try:
        found = msgspec.convert(spelled, analyzed(kind), strict=strict)
    except msgspec.ValidationError as error:
        diagnose(kind, spelled, later, check, strict=strict).raise_if_any()
        raise _wrong_as_told(str(error)) from error
    _check_all(found, check)
    return found


class NoInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty query string."""


def refuse_body(req: falcon.Request) -> None:
    """Check that a request without a body has none, or an empty object.

    Raises: InvalidField.
    """
    is_long = (req.content_length or 0) > MAX_JSON_BYTES
    if is_long or req.bounded_stream.read().strip() not in (b"", b"{}"):
        raise wrong_field("$", "this call does not accept a body")


def refuse_key(req: falcon.Request) -> None:
    """Refuse an idempotency key for a call that is safe to repeat anyway, or whose response is not stored.

    Raises: InvalidField.
    """
    if req.get_header("Idempotency-Key") is not None:
        raise wrong_field("Idempotency-Key", "not supported for this call (it is already safe to repeat)")


def read_key(req: falcon.Request) -> str | None:
    """The caller's idempotency key, in the scope of HTTP and of the caller's API key.

    Raises: InvalidField, if the header is not a plain word of 1 to 200 characters.
    """
    return key_in(req.get_header("Idempotency-Key"), caller_of(req).key_id)


def key_in(key: str | None, key_id: KeyId | None) -> str | None:
    """The same for the value of the header, and an API key. Raises: InvalidField."""
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise wrong_field("Idempotency-Key", f"must be 1 to {MAX_KEY} printable ASCII characters")
    return f"http:{key}" if key_id is None else f"http:{key_id}:{key}"


def diagnose(
    kind: type[Input], raw: Mapping[str, object], later: frozenset[str], check: Check[Input], *, strict: bool
) -> ValidationErrors:
    """All errors of an object that could not be decoded as a whole, field by field."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    known = [*fields, *later]
    faults = ValidationErrors()
    good: dict[str, object] = {}
    bad: set[str] = set()
    out_of_bounds: set[str] = set()
    for name, value in raw.items():
        if name in later:
            faults.later(name)
        elif name not in fields:
            faults.unknown(name, known, None if faults.is_full else our_name(name, known))
        else:
            try:
                good[name] = msgspec.convert(value, type=analyzed(fields[name].type), strict=strict)
            except msgspec.ValidationError as error:
                path, problem = in_words(str(error))
                bad.add(name)
                if wrong_choice(kind, name, path, value, faults):
                    continue
                faults.wrong(f"{name}{path}", problem)
                if problem.startswith(TOO_MUCH) and (number := _number(value, strict=strict)) is not None:
                    good[name] = number  # this installation may allow even less, which is checked below
                    out_of_bounds.add(name)
    for name in [name for name, field in fields.items() if field.required and name not in good]:
        if name not in bad:
            faults.wrong(name, "is required")
            bad.add(name)
        good[name] = ""  # a placeholder, so that the other fields can be checked; errors about it are dropped
    more = ValidationErrors()
    check(kind(**{fields[name].name: value for name, value in good.items()}), more)
    faults.merge(more, but_not=frozenset(bad))
    faults.sharpen(more, out_of_bounds)
    return faults


def _number(value: object, *, strict: bool) -> int | None:
    try:
        return msgspec.convert(value, type=int, strict=strict)
    except msgspec.ValidationError:
        return None


def _check_all(found: Input, check: Check[Input]) -> None:
    faults = ValidationErrors()
    check(found, faults)
    faults.raise_if_any()


def _wrong_as_told(told: str) -> InvalidField:
    """The decoder's own error, if the check of each field has found none."""
    path, problem = in_words(told)
    return wrong_field(path.lstrip(".") or "$", problem)


def refuse_compressed(req: falcon.Request) -> None:
    """Raises: UnsupportedMediaType, if the body is compressed."""
    _check_coding(req.get_header("Content-Encoding"))


def _check_coding(coding: str | None) -> None:
    if coding is not None and coding.lower() != "identity":
        raise UnsupportedMediaType("the body must not be compressed")


def media_type_of(req: falcon.Request) -> str:
    """The media type of the body without its parameters, in lower case; empty, if there is none."""
    return _parts_of_type(req.content_type)[0]


def _parts_of_type(content_type: str | None) -> tuple[str, str]:
    """The media type and its parameters, in lower case."""
    media_type, _, parameters = (content_type or "").lower().partition(";")
    return media_type.strip(), parameters.strip()


def _check_type(content_type: str | None, coding: str | None) -> None:
    """Raises: UnsupportedMediaType, unless the body is said to be JSON as it is."""
    _check_coding(coding)
    if content_type == JSON:
        return
    media_type, parameters = _parts_of_type(content_type)
    if media_type != JSON or parameters.removeprefix("charset=").strip('"') not in ("", "utf-8"):
        raise UnsupportedMediaType


def _bytes_of(req: falcon.Request, max_bytes: int) -> bytes:
    if (req.content_length or 0) > max_bytes:
        raise TooLarge(f"a JSON body must have at most {max_bytes} bytes")
    body = req.bounded_stream.read()
    if not body:
        raise Malformed("the body is empty: send a JSON object")
    return body


def find_nothing(found: msgspec.Struct, faults: ValidationErrors) -> None:
    """For inputs whose types express all rules."""
