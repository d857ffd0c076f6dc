"""A route: one line defines both how it is served and how it is described."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType

import falcon
import msgspec

from api.audit import note_act
from api.http.contract.caller import caller_of
from api.http.contract.request_parsing import NoInput, QueryReader, refuse_body
from api.http.framework.access import Access
from api.http.framework.deferral import RESUMED, ROUTE
from api.http.framework.request_head import SLASH
from kernel.protocol.enums import Role
from kernel.protocol.errors import SpoonError

Responder = Callable[..., None]
"""Takes the request, the response, and the variables of the path by name."""


@dataclass(frozen=True, slots=True)
class EventStream:
    """Server-sent events, whose data is JSON."""

    name: str
    """The name of the schema of all of them."""
    data: Mapping[str, type[msgspec.Struct]]
    """The type of an event's data, by the event's name."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """JSON of a list without an object around it, as other tools have them."""

    kind: type[msgspec.Struct]


Content = type[msgspec.Struct] | UnionType | ListOf | EventStream | tuple[str, ...] | str | None
"""The body of a response: JSON of one or several types, a list of one, events, one of several media types, or
none."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method on a path."""

    id: str
    """The name of the operation, unique: generated clients call their functions so."""
    method: str
    path: str
    run: Responder
    summary: str
    ok: Mapping[int, Content]
    """Successful responses, by status code."""
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    errors: tuple[type[SpoonError], ...] = ()
    """Errors, besides those that every route may return."""
    heeds: tuple[str, ...] = ()
    """The request headers that it uses."""
    form: type[msgspec.Struct] | None = None
    """The fields of a body that must be a form (multipart/form-data)."""
    files: tuple[str, ...] = ()
    """The fields of the body that may come as files; then the body may also be a form."""
    media_types: tuple[str, ...] = ()
    """Those of a body that is a file."""
    is_lenient: bool = False
    """Whether parameters and a body that it does not take are for it to tell of, rather than refused."""
    events: EventStream | None = None
    """Its response to those who ask for a stream."""

    @property
    def contents(self) -> tuple[Content, ...]:
        """The bodies of all successful responses."""
        return (*self.ok.values(), self.events)


def add_routes(
    app: "falcon.App[falcon.Request, falcon.Response]",
    table: tuple[Route, ...],
    access: Access,
    roles: Mapping[str, Role | None],
) -> None:
    """Serve every route to callers of its least role, and those of None to everybody. A route for GET also
    answers HEAD, without the body."""
    no_query = QueryReader(NoInput)
    paths: dict[str, dict[str, Responder]] = {}
    for route in table:
        responders = paths.setdefault(route.path, {})
        run = _admitting(route, access, roles.get(route.id, Role.ADMIN), _refusing(route, no_query))
        run = _noting(route, run)
        responders[f"on_{route.method.lower()}"] = run
        if route.method == "GET":
            responders["on_head"] = run
    for path, responders in paths.items():
        methods = {name: staticmethod(responder) for name, responder in responders.items()}
        app.add_route(path, type("Path", (), methods)())


def _noting(route: Route, run: Responder) -> Responder:
    """The responder, after a note of the route, by which requests are counted."""

    def note(req: falcon.Request, resp: falcon.Response, **variables: str) -> None:
        req.env[ROUTE] = route.path
        run(req, resp, **variables)

    return note


def _admitting(route: Route, access: Access, least: Role | None, run: Responder) -> Responder:
    """The responder, for callers of this role or a greater one; what admins change is in the log."""
    if least is None:
        return run
    is_act = least is Role.ADMIN and route.method != "GET"

    def admit(req: falcon.Request, resp: falcon.Response, **variables: str) -> None:
        access.admit(req, least)
        run(req, resp, **variables)
        if is_act:
            note_act(route.id, req.path, str(req.remote_addr), caller_of(req).key_id)

    return admit


def _refusing(route: Route, no_query: QueryReader[NoInput]) -> Responder:
    """The responder, after a check that the request has no part that it would ignore.

    A route of a later version only has its refusal, which then comes first.
    """
    has_body = route.body is not None or route.form is not None or bool(route.media_types)

    def run(req: falcon.Request, resp: falcon.Response, **variables: str) -> None:
        if RESUMED in req.env:
            req.env[RESUMED](resp)
            return
        if route.ok and route.query is None and not route.is_lenient:
            no_query.read(req)
        if route.ok and not has_body and not route.is_lenient:
            refuse_body(req)
        route.run(req, resp, **{name: value.replace(SLASH, "/") for name, value in variables.items()})

    return run
