"""Generates OpenAPI 3.1 from the table of routes and the types that validate requests."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import UnionType
from typing import Final, get_args

import msgspec

from api.http.contract import errors as http
from api.http.contract.problems import CONTENT_TYPE, Problem, status_of
from api.http.framework.form import CONTENT_TYPE as FORM
from api.http.framework.route import Content, Route
from kernel.protocol import enums, errors
from kernel.protocol.errors import SpoonError
from kernel.protocol.version import VERSION

ALWAYS: Final = (http.Malformed, http.ForbiddenHost, errors.InvalidField, errors.DatabaseUnusable, SpoonError)
"""Errors that any route may return."""
WITH_BODY: Final = (http.TooLarge, http.UnsupportedMediaType)
ASKING: Final = (errors.TooManyRequests, errors.ShuttingDown, errors.ManagerUnreachable, errors.BadMessage)
"""Errors of any route that sends a command to the Manager."""
WRITING: Final = (http.ForbiddenOrigin, *ASKING)
"""Errors of any route that changes something."""

_EXAMPLES: Final = 3
Json = dict[str, object]

_VARIABLE: Final = re.compile(r"{(\w+)}")


def openapi(table: tuple[Route, ...]) -> Json:
    """The description of all routes."""
    types = _types(table)
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for kind in _inputs(table):
        components[kind.__name__] = _with_any_spelling(components[kind.__name__])
    paths: dict[str, Json] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components)
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
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _types(table: tuple[Route, ...]) -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = {Problem: None}
    for route in table:
        for kind in (route.body, route.form, route.query, *_structs(route.ok.values())):
            if kind is not None:
                found[kind] = None
    return list(found)


def _inputs(table: tuple[Route, ...]) -> set[type[msgspec.Struct]]:
    return {kind for route in table for kind in (route.body, route.form, route.query) if kind is not None}


def _with_any_spelling(schema: Json) -> Json:
    """A string without `enum`, because generated clients would refuse the spellings that we accept."""
    if set(schema) == {"$ref"}:
        choice = getattr(enums, str(schema["$ref"]).rpartition("/")[2], None)
        return schema if choice is None else _spelled(list(choice))
    return {name: _with_any_spellings(value) for name, value in schema.items()}


def _with_any_spellings(value: object) -> object:
    if isinstance(value, list):
        return [_with_any_spellings(one) for one in value]
    return _with_any_spelling(value) if isinstance(value, dict) else value


def _spelled(words: list[str]) -> Json:
    return {
        "type": "string",
        "description": f"One of {', '.join(words)}. Case and common spelling variants do not matter.",
        "examples": words[:_EXAMPLES],
    }


def _structs(contents: Iterable[Content]) -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    for content in contents:
        if isinstance(content, UnionType):
            found.extend(get_args(content))
        elif isinstance(content, type):
            found.append(content)
    return found


def _operation(route: Route, components: Mapping[str, Json]) -> Json:
    operation: Json = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [_tag(route.path)],
        "parameters": _parameters(route, components),
        "responses": {**_answers(route), **_refusals(route)},
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _contents(route, route.body, components)}
    if route.form is not None:
        operation["requestBody"] = {"required": True, "content": {FORM: {"schema": _reference(route.form)}}}
    return operation


def _contents(route: Route, body: type[msgspec.Struct], components: Mapping[str, Json]) -> Json:
    """The body as JSON, and as a form if it may have files."""
    contents: Json = {"application/json": {"schema": _reference(body)}}
    if route.files:
        contents[FORM] = {"schema": _form(components[body.__name__], route.files)}
    return contents


def _form(schema: Json, files: tuple[str, ...]) -> Json:
    """The same object with files in place of base64 (OpenAPI 3.1, 4.8.14.4: binary has no schema type)."""
    properties = schema["properties"]
    assert isinstance(properties, dict), "a body is an object"
    parts = {name: {"contentMediaType": "application/octet-stream"} for name in files}
    kept = {name: _without_null(each) for name, each in properties.items()}
    return {**schema, "properties": {**kept, **parts}}


def _operation_id(route: Route) -> str:
    words = [
        word.strip("{}").replace(".json", "") for word in route.path.split("/") if word not in ("", "v1")
    ]
    return "_".join([route.method.lower(), *words])


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[1] if parts[0] == "v1" and parts[1] in ("models", "engines", "jobs", "images") else "system"


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
    return {str(status): _answer(status, content) for status, content in route.ok.items()}


def _answer(status: int, content: Content) -> Json:
    described: Json = {"description": HTTPStatus(status).phrase}
    if isinstance(content, str):
        described["content"] = {content: {}}
    elif isinstance(content, UnionType):
        schema: Json = {"anyOf": [_reference(kind) for kind in get_args(content)]}
        described["content"] = {"application/json": {"schema": schema}}
    elif content is not None:
        described["content"] = {"application/json": {"schema": _reference(content)}}
    return described


def _refusals(route: Route) -> Json:
    """The problem documents by status, each with the possible codes."""
    codes: dict[int, list[str]] = {}
    for error in _errors_of(route):
        codes.setdefault(status_of(error), []).append(error.code)
    content = {CONTENT_TYPE: {"schema": _reference(Problem)}}
    return {
        str(status): {"description": "code: " + ", ".join(names), "content": content}
        for status, names in sorted(codes.items())
        if status not in route.ok
    }


def _errors_of(route: Route) -> Iterable[type[SpoonError]]:
    yield from ALWAYS
    if route.body is not None:
        yield from WITH_BODY
    if route.method != "GET":
        yield from WRITING
    yield from route.errors


def _reference(kind: type[msgspec.Struct]) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
