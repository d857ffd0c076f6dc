"""One route: how it is served and how it is described come from the same line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType

import falcon
import msgspec

from api.http.contract.request_parsing import NoInput, QueryReader, refuse_body
from kernel.protocol.errors import SpoonError

Responder = Callable[..., None]
"""Takes the request, the response, and the variables of the path by name."""
Content = type[msgspec.Struct] | UnionType | str | None
"""The body of an answer: JSON of a type or of one of several, a media type, or nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method on a path."""

    method: str
    path: str
    run: Responder
    summary: str
    ok: Mapping[int, Content]
    """What it answers when all is well, by status code."""
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    errors: tuple[type[SpoonError], ...] = ()
    """What it refuses with, beyond what every route may refuse with."""
    heeds: tuple[str, ...] = ()
    """The request headers that it looks at."""
    form: type[msgspec.Struct] | None = None
    """The fields of a body that is a form (multipart/form-data), where it can be nothing else."""
    files: tuple[str, ...] = ()
    """The fields of the body that may come as files: then the body may be a form, too."""


def add_routes(app: "falcon.App[falcon.Request, falcon.Response]", table: tuple[Route, ...]) -> None:
    """Serve every route. What answers GET answers HEAD too: the same without the body."""
    no_query = QueryReader(NoInput)
    paths: dict[str, dict[str, Responder]] = {}
    for route in table:
        responders = paths.setdefault(route.path, {})
        run = _refusing(route, no_query)
        responders[f"on_{route.method.lower()}"] = run
        if route.method == "GET":
            responders["on_head"] = run
    for path, responders in paths.items():
        methods = {name: staticmethod(responder) for name, responder in responders.items()}
        app.add_route(path, type("Path", (), methods)())


def _refusing(route: Route, no_query: QueryReader[NoInput]) -> Responder:
    """The responder behind a check that nothing comes which it would ignore.

    A route of a later version has no answer but its refusal, which is the better one to give.
    """
    has_body = route.body is not None or route.form is not None
    if not route.ok or (route.query is not None and has_body):
        return route.run

    def run(req: falcon.Request, resp: falcon.Response, **variables: str) -> None:
        if route.query is None:
            no_query.read(req)
        if not has_body:
            refuse_body(req)
        route.run(req, resp, **variables)

    return run
