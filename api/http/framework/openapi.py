"""Generates OpenAPI 3.1 from the table of routes and the types that validate requests."""

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import UnionType
from typing import Final, get_args

import msgspec

from api.http.contract import errors as http
from api.http.contract.a1111_errors import A1111Error, is_of_a1111
from api.http.contract.credentials import SESSION_COOKIE
from api.http.contract.openai_errors import OpenAiRefusal, is_of_openai, openai_status
from api.http.contract.problems import CONTENT_TYPE, Problem, status_of
from api.http.framework.form import CONTENT_TYPE as FORM
from api.http.framework.route import Content, EventStream, ListOf, Route
from api.http.framework.sse import CONTENT_TYPE as STREAM
from kernel.protocol import enums, errors
from kernel.protocol.enums import Role
from kernel.protocol.errors import SpoonError
from kernel.protocol.version import VERSION

ALWAYS: Final = (http.Malformed, http.ForbiddenHost, errors.InvalidField, errors.DatabaseUnusable, SpoonError)
"""Errors that any route may return."""
WITH_BODY: Final = (http.TooLarge, http.UnsupportedMediaType)
ASKING: Final = (errors.TooManyRequests, errors.ShuttingDown, errors.ManagerUnreachable, errors.BadMessage)
"""Errors of any route that sends a command to the Manager."""
QUEUE_LIMITS: Final = (errors.QueueFull, errors.TooManyWaiting, errors.TooManyImages, errors.TooManyPixels)
WRITING: Final = (http.ForbiddenOrigin, *ASKING)
"""Errors of any route that changes something."""

CODES: Final = "x-codes"
"""The member of a response with the codes of its problem documents."""
LEAST_ROLE: Final = "x-least-role"
"""The member of an operation with the role that its callers need at least, where there are API keys."""
_EXAMPLES: Final = 3
_TAGS: Final = ("models", "engines", "jobs", "images", "keys")
_JSON: Final = "application/json"
_SCHEMAS: Final = "#/components/schemas/"
Json = dict[str, object]
_FILE: Final[Json] = {"type": "string", "format": "binary"}
"""The bytes of a file. OpenAPI 3.1 asks for nothing here, but generated clients need to be told."""

_SECURITY: Final[dict[str, Json]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name; the password is an API key."},
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
}
"""How callers say who they are; on a server without keys nobody needs to."""
NOT_ADMITTED: Final = (errors.KeyMissing, errors.KeyUnknown, errors.KeyExpired, errors.KeyRevoked)
_NULL: Final[Json] = {"type": "null"}
_REFERENCE: Final = re.compile(rf"{_SCHEMAS}(\w+)")
_VARIABLE: Final = re.compile(r"{(\w+)}")


def openapi(table: tuple[Route, ...], roles: Mapping[str, Role | None]) -> Json:
    """The description of all routes, whose least roles are those by their ids; None: everybody's."""
    components = _components(table)
    paths: dict[str, Json] = {}
    for route in table:
        operation = _operation(route, roles.get(route.id, Role.ADMIN), components)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    queries = {route.query.__name__ for route in table if route.query is not None}
    schemas = {name: schema for name, schema in components.items() if name not in queries}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "automatic-spoon",
            "version": VERSION,
            "summary": "An image-generation server for Stable Diffusion.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{}, *({name: []} for name in _SECURITY)],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _components(table: tuple[Route, ...]) -> dict[str, Json]:
    """All schemas by name, also those of queries."""
    _, found = msgspec.json.schema_components(_types(table), ref_template=f"{_SCHEMAS}{{name}}")
    components = {name: _on_one_line(_with_plain_lists(schema)) for name, schema in found.items()}
    inputs = _with_parts({kind.__name__ for kind in _inputs(table)}, components)
    for name, schema in components.items():
        components[name] = _as_input(schema) if name in inputs else _as_output(schema)
    for route in table:
        if route.body is not None and route.files:
            name = _form_name(route.body)
            components[name] = _form(components[route.body.__name__], route.files) | {"title": name}
        for content in route.contents:
            if isinstance(content, EventStream):
                components[content.name] = _event_data(content)
    for name in _with_parts({route.body.__name__ for route in table if route.body is not None}, components):
        components[name] = _with_null(components[name])
    return components


def _with_plain_lists(schema: Json) -> Json:
    """A list of a fixed length without `prefixItems`, which few generators of clients know."""
    if "prefixItems" in schema:
        prefix = schema["prefixItems"]
        assert isinstance(prefix, list)
        assert all(one == prefix[0] for one in prefix), "entries of one type"
        schema = {**{k: v for k, v in schema.items() if k != "prefixItems"}, "items": prefix[0]}
    return {name: _each(_with_plain_lists, value) for name, value in schema.items()}


def _on_one_line(schema: Json) -> Json:
    """A docstring as a description, whose lines are not those of the source."""
    said = schema.get("description")
    return schema if said is None else {**schema, "description": " ".join(str(said).split())}


def _types(table: tuple[Route, ...]) -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = dict.fromkeys((Problem, OpenAiRefusal, A1111Error))
    for route in table:
        for kind in (route.body, route.form, route.query, *_structs(route.contents)):
            if kind is not None:
                found[kind] = None
    return list(found)


def _inputs(table: tuple[Route, ...]) -> set[type[msgspec.Struct]]:
    return {kind for route in table for kind in (route.body, route.form, route.query) if kind is not None}


def _with_parts(names: set[str], components: Mapping[str, Json]) -> set[str]:
    """These structs, and those that their fields are made of."""
    found = set[str]()
    while names := names - found:
        found |= names
        texts = (msgspec.json.encode(components[name]).decode() for name in names)
        names = {part for text in texts for part in _REFERENCE.findall(text)}
    return {name for name in found if "properties" in components[name]}


def _as_input(schema: Json) -> Json:
    """What a client may send: words in any spelling, and defaults as text, for the server fills them in.

    Some generators take a field with a `default` for one that is always there, and ask their users for it.
    """
    properties = schema["properties"]
    assert isinstance(properties, dict), "a struct is an object"
    shown = {name: _with_any_spelling(_with_told_default(each)) for name, each in properties.items()}
    return {**schema, "properties": shown}


def _with_null(schema: Json) -> Json:
    """What a body may have: null, for every field that may be left out, means that it is not given."""
    properties, required = schema["properties"], schema.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    optional = {name: _or_null(each) for name, each in properties.items() if name not in required}
    return {**schema, "properties": {**properties, **optional}}


def _or_null(schema: Json) -> Json:
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        return schema if _NULL in choices else {**schema, "anyOf": [*choices, _NULL]}
    if isinstance(kind := schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    described: Json = {name: schema[name] for name in ("description", "title") if name in schema}
    rest = {name: value for name, value in schema.items() if name not in described}
    return {**described, "anyOf": [rest, _NULL]}


def _with_told_default(schema: Json) -> Json:
    rest = {name: value for name, value in schema.items() if name != "default"}
    usual = schema.get("default")
    if usual is None or usual == [] or usual == {}:
        return rest
    said = rest.get("description")
    told = f"Default: {msgspec.json.encode(usual).decode()}."
    return {**rest, "description": f"{said} {told}" if said else told}


def _as_output(schema: Json) -> Json:
    """What the server sends: fields with defaults are always there, too."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return schema
    required = schema.get("required", [])
    assert isinstance(required, list), "names of fields"
    sent = [name for name, each in properties.items() if name in required or "default" in each]
    plain = {name: {k: v for k, v in each.items() if k != "default"} for name, each in properties.items()}
    return {**schema, "properties": plain, "required": sent}


def _with_any_spelling(schema: Json) -> Json:
    """A string without `enum`, because generated clients would refuse the spellings that we accept."""
    choice = getattr(enums, str(schema.get("$ref")).rpartition("/")[2], None)
    if choice is not None:
        return _spelled(list(choice), str(schema.get("description", "")))
    return {name: _each(_with_any_spelling, value) for name, value in schema.items()}


def _each(change: Callable[[Json], Json], value: object) -> object:
    """A value with every object in it changed."""
    if isinstance(value, list):
        return [_each(change, one) for one in value]
    return change(value) if isinstance(value, dict) else value


def _spelled(words: list[str], more: str) -> Json:
    known = f"One of {', '.join(words)}. Case and common spelling variants do not matter."
    return {
        "type": "string",
        "description": f"{known} {more}".rstrip(),
        "examples": words[:_EXAMPLES],
    }


def _structs(contents: Iterable[Content]) -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    for content in contents:
        if isinstance(content, UnionType):
            found.extend(get_args(content))
        elif isinstance(content, ListOf):
            found.append(content.kind)
        elif isinstance(content, EventStream):
            found.extend(content.data.values())
        elif isinstance(content, type):
            found.append(content)
    return found


def _event_data(stream: EventStream) -> Json:
    """The data of any event of a stream, with the name of each event."""
    kinds = dict.fromkeys(stream.data.values())
    names = {kind: [name for name, one in stream.data.items() if one is kind] for kind in kinds}
    said = "; ".join(f"{kind.__name__} with {', '.join(names[kind])}" for kind in kinds)
    return {
        "title": stream.name,
        "description": f"The JSON data of a server-sent event, by its event name: {said}.",
        "anyOf": [_reference(kind) for kind in kinds],
    }


def _operation(route: Route, least: Role | None, components: Mapping[str, Json]) -> Json:
    operation: Json = {
        "operationId": route.id,
        "summary": route.summary,
        "tags": [_tag(route.path)],
        "parameters": _parameters(route, components),
        "responses": {**_answers(route), **_refusals(route, least)},
        **({"security": []} if least is None else {LEAST_ROLE: least}),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _contents(route, route.body, components)}
    if route.form is not None:
        operation["requestBody"] = {"required": True, "content": {FORM: {"schema": _reference(route.form)}}}
    if route.media_types:
        files = {one: {"schema": _FILE} for one in route.media_types}
        operation["requestBody"] = {"required": True, "content": files}
    return operation


def _contents(route: Route, body: type[msgspec.Struct], components: Mapping[str, Json]) -> Json:
    """The body as JSON, and as a form if it may have files."""
    contents: Json = {_JSON: {"schema": _reference(body)}}
    if route.files:
        contents[FORM] = {"schema": {"$ref": f"{_SCHEMAS}{_form_name(body)}"}}
    return contents


def _form_name(body: type[msgspec.Struct]) -> str:
    return f"{body.__name__.removesuffix('Input')}Form"


def _form(schema: Json, files: tuple[str, ...]) -> Json:
    """The same object with files in place of base64 (OpenAPI 3.1, 4.8.14.4: binary has no schema type)."""
    properties = schema["properties"]
    assert isinstance(properties, dict), "a body is an object"
    kept = {name: _without_null(each) for name, each in properties.items()}
    return {**schema, "properties": {**kept, **dict.fromkeys(files, _FILE)}}


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return (
        parts[1]
        if parts[0] == "v1" and parts[1] in ("models", "engines", "jobs", "images", "keys")
        else "system"
    )


def _parameters(route: Route, components: Mapping[str, Json]) -> list[Json]:
    text = {"type": "string"}
    path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _VARIABLE.findall(route.path)
    ]
    heeded = [{"name": name, "in": "header", "required": False, "schema": text} for name in route.heeds]
    return [*path, *_query(route, components), *heeded]


def _query(route: Route, components: Mapping[str, Json]) -> list[Json]:
    if route.query is None:
        return []
    properties = components[route.query.__name__]["properties"]
    if not isinstance(properties, dict):
        return []
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: Json) -> Json:
    """A schema without null: an omitted query parameter is not null."""
    kinds = schema.get("anyOf")
    if not isinstance(kinds, list):
        return schema
    kept = [kind for kind in kinds if kind != {"type": "null"}]
    return kept[0] if len(kept) == 1 else {"anyOf": kept}


def _answers(route: Route) -> Json:
    return {
        str(status): _answer(status, content, route.events if status == HTTPStatus.OK else None)
        for status, content in route.ok.items()
    }


def _answer(status: int, *contents: Content) -> Json:
    described: Json = {"description": HTTPStatus(status).phrase}
    content: Json = {}
    for one in contents:
        if one is not None:
            content |= _content(one)
    return {**described, "content": content} if content else described


def _content(
    content: type[msgspec.Struct] | UnionType | ListOf | EventStream | tuple[str, ...] | str,
) -> Json:
    match content:
        case str():
            return {content: {"schema": {"type": "object" if content == _JSON else "string"}}}
        case tuple():
            return {media_type: {"schema": _FILE} for media_type in content}
        case EventStream():
            return {STREAM: {"schema": {"$ref": f"{_SCHEMAS}{content.name}"}}}
        case ListOf():
            return {_JSON: {"schema": {"type": "array", "items": _reference(content.kind)}}}
        case UnionType():
            return {_JSON: {"schema": {"anyOf": [_reference(kind) for kind in get_args(content)]}}}
        case _:
            return {_JSON: {"schema": _reference(content)}}


def _refusals(route: Route, least: Role | None) -> Json:
    """The problem documents by status, each with the possible codes, for people and for programs."""
    codes: dict[int, dict[str, None]] = {}
    is_openai = is_of_openai(route.path)
    for error in (*_errors_of(route), *_not_admitted(least)):
        status = openai_status(status_of(error)) if is_openai else status_of(error)
        codes.setdefault(status, {})[error.code] = None
    shape: dict[str, type[msgspec.Struct]] = {CONTENT_TYPE: Problem}
    if is_openai or is_of_a1111(route.path):
        shape = {_JSON: OpenAiRefusal if is_openai else A1111Error}
    content = {media_type: {"schema": _reference(kind)} for media_type, kind in shape.items()}
    return {
        str(status): {"description": f"code: {', '.join(names)}", CODES: list(names), "content": content}
        for status, names in sorted(codes.items())
        if status not in route.ok
    }


def _not_admitted(least: Role | None) -> tuple[type[SpoonError], ...]:
    if least is None:
        return ()
    refused = (*NOT_ADMITTED, errors.TooFast)
    return refused if least is Role.VIEWER else (*refused, errors.KeyNotAllowed)


def _errors_of(route: Route) -> Iterable[type[SpoonError]]:
    yield from ALWAYS
    if route.body is not None or route.media_types:
        yield from WITH_BODY
    if route.method != "GET":
        yield from WRITING
    yield from route.errors


def _reference(kind: type[msgspec.Struct]) -> Json:
    return {"$ref": f"{_SCHEMAS}{kind.__name__}"}
