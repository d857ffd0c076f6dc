"""From a request to a typed input, or to the list of everything that is wrong with it."""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import falcon
import msgspec

from api.http.contract.enum_choices import respelled, wrong_choice
from api.http.contract.errors import Malformed, TooLarge, UnsupportedMediaType
from api.http.contract.field_aliases import our_name
from api.http.contract.json_text import check_shape, strict_json
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.error_texts import TOO_MUCH, in_words
from kernel.protocol.errors import InvalidField, SpoonError, wrong_field

Input = TypeVar("Input", bound=msgspec.Struct)
Check = Callable[[Input, ValidationErrors], None]

MAX_JSON_BYTES: Final = 1 << 20
"""The longest JSON body; two prompts of the longest kind in four-byte characters fit in."""
MAX_KEY: Final = 200


class BodyReader(Generic[Input]):
    """Reads JSON bodies of one type. A right body is decoded once; only a wrong one is taken apart."""

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
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, req: falcon.Request) -> Input:
        """The input that the request carries.

        Raises: UnsupportedMediaType, if it is not JSON; TooLarge; Malformed, if it is no right JSON;
        InvalidField or NotSupported with every wrong field.
        """
        body = self._body_of(req)
        try:
            return self._right(body)
        except msgspec.ValidationError:
            return self._second_look(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"invalid JSON: {error}") from error

    def read_if_right(self, req: falcon.Request) -> Input | None:
        """The input that the request carries; None, if there is any fault, which `read` finds and tells."""
        try:
            return self._right(self._body_of(req))
        except (SpoonError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _body_of(self, req: falcon.Request) -> bytes:
        _check_type(req)
        body = _bytes_of(req, self._max_bytes)
        check_shape(body)
        return body

    def _right(self, body: bytes) -> Input:
        """Raises: SpoonError; what msgspec raises, if it cannot decode the body."""
        found = self._decoder.decode(body)
        self._read_strictly(body)
        _check_all(found, self._check)
        return found

    def _read_strictly(self, body: bytes) -> object:
        try:
            return strict_json(body)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"invalid JSON: {error}") from error

    def _second_look(self, body: bytes) -> Input:
        """The input, if all that is wrong is a null, which means "not given", or how a word is spelled."""
        raw = _without_nulls(self._read_strictly(body))
        if not isinstance(raw, dict):
            raise wrong_field("$", "the body must be a JSON object")
        return read_fields(self._kind, raw, self._later, self._check, strict=True)


def _without_nulls(value: object) -> object:
    match value:
        case dict():
            return {name: _without_nulls(one) for name, one in value.items() if one is not None}
        case list():
            return [_without_nulls(one) for one in value]
        case _:
            return value


class QueryReader(Generic[Input]):
    """Reads query strings of one type."""

    def __init__(self, kind: type[Input], check: Check[Input] | None = None) -> None:
        self._kind = kind
        self._check: Check[Input] = check or find_nothing

    def read(self, req: falcon.Request) -> Input:
        """The input that the query string carries.

        Raises: InvalidField with every wrong parameter.
        """
        params: Mapping[str, object] = req.params if req.query_string else {}

        def check(found: Input, faults: ValidationErrors) -> None:
            for name in params:
                if getattr(found, name, name) is None:  # the text `null` is read so; a query has no null
                    faults.wrong(name, "must not be null: omit it")
            self._check(found, faults)

        return read_fields(self._kind, params, frozenset(), check, strict=False)


def read_fields(
    kind: type[Input],
    raw: Mapping[str, object],
    later: frozenset[str],
    check: Check[Input],
    *,
    strict: bool,
) -> Input:
    """The input that these fields make; unless `strict`, numbers and flags may be texts (forms, queries).

    Raises: InvalidField or NotSupported with every wrong field.
    """
    spelled = respelled(kind, raw)
    try:
        found = msgspec.convert(spelled, kind, strict=strict)
    except msgspec.ValidationError as error:
        diagnose(kind, spelled, later, check, strict=strict).raise_if_any()
        raise _wrong_as_told(str(error)) from error
    _check_all(found, check)
    return found


class NoInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query string without anything in it."""


def refuse_body(req: falcon.Request) -> None:
    """Nothing, or an object without anything in it, is all that may come where no body is read.

    Raises: InvalidField.
    """
    is_long = (req.content_length or 0) > MAX_JSON_BYTES
    if is_long or req.bounded_stream.read().strip() not in (b"", b"{}"):
        raise wrong_field("$", "this call does not accept a body")


def refuse_key(req: falcon.Request) -> None:
    """A call that may be repeated by itself, or whose answer is none to keep, takes no idempotency key.

    Raises: InvalidField.
    """
    if req.get_header("Idempotency-Key") is not None:
        raise wrong_field("Idempotency-Key", "not supported for this call (it is already safe to repeat)")


def read_key(req: falcon.Request) -> str | None:
    """The caller's idempotency key, in the scope of HTTP.

    Raises: InvalidField, if the header is no plain word of 1 to 200 characters.
    """
    key = req.get_header("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise wrong_field("Idempotency-Key", f"must be 1 to {MAX_KEY} printable ASCII characters")
    return f"http:{key}"


def diagnose(
    kind: type[Input], raw: Mapping[str, object], later: frozenset[str], check: Check[Input], *, strict: bool
) -> ValidationErrors:
    """Everything that is wrong with an object that could not be decoded as a whole, field by field."""
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
                good[name] = msgspec.convert(value, type=fields[name].type, strict=strict)
            except msgspec.ValidationError as error:
                path, problem = in_words(str(error))
                bad.add(name)
                if wrong_choice(kind, name, path, value, faults):
                    continue
                faults.wrong(f"{name}{path}", problem)
                if problem.startswith(TOO_MUCH) and (number := _number(value, strict=strict)) is not None:
                    good[name] = number  # this installation may allow even less, and says so below
                    out_of_bounds.add(name)
    for name in [name for name, field in fields.items() if field.required and name not in good]:
        if name not in bad:
            faults.wrong(name, "is required")
            bad.add(name)
        good[name] = ""  # a stand-in, so that the other fields can be checked; what is said of it is dropped
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
    """The last resort: what the decoder found, where the field by field diagnosis found nothing."""
    path, problem = in_words(told)
    return wrong_field(path.lstrip(".") or "$", problem)


def refuse_compressed(req: falcon.Request) -> None:
    """Raises: UnsupportedMediaType, if the body would have to be inflated."""
    if req.env.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedMediaType("the body must not be compressed")


def _check_type(req: falcon.Request) -> None:
    refuse_compressed(req)
    given = req.content_type or ""
    if given == "application/json":
        return
    kind, _, parameters = given.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise UnsupportedMediaType


def _bytes_of(req: falcon.Request, max_bytes: int) -> bytes:
    if (req.content_length or 0) > max_bytes:
        raise TooLarge(f"a JSON body must have at most {max_bytes} bytes")
    body = req.bounded_stream.read()
    if not body:
        raise Malformed("the body is empty: send a JSON object")
    return body


def find_nothing(found: msgspec.Struct, faults: ValidationErrors) -> None:
    """For inputs of which every value of the right type is right."""
