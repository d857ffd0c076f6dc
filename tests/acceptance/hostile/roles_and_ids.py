"""Calls beyond one's role, and with ids of others: of every route that the API describes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kernel.protocol.enums import Role
from tests.acceptance.hostile.exchange import Case, bearer, cookie, filled, request
from tests.acceptance.hostile.house import House

RANKS: Final = (Role.VIEWER, Role.USER, Role.ADMIN)
OWNED: Final = ("job_id", "image_id", "webhook_id", "delivery_id")
"""The variables of paths that are ids of what belongs to a key."""
BODIES: Final[Mapping[str, object]] = {
    "edit_job": {"priority": 3},
    "edit_image": {"note": "mine"},
    "edit_webhook": {"url": "https://example.com/mine"},
}
"""Those of the routes with such ids that need one."""
NEVER: Final = "01900000-0000-7000-8000-00000000dead"


@dataclass(frozen=True)
class Operation:
    """A call of the API."""

    id: str
    method: str
    path: str
    least: Role | None

    @property
    def has_owned_id(self) -> bool:
        return any(f"{{{name}}}" in self.path for name in OWNED)


def operations(house: House) -> list[Operation]:
    """All calls, as the server describes them."""
    paths: dict[str, dict[str, Any]] = house.ask("GET", "/openapi.json", "root")["paths"]
    return [
        Operation(said["operationId"], method.upper(), path, _role(said.get("x-least-role")))
        for path, methods in paths.items()
        for method, said in methods.items()
    ]


def _role(text: str | None) -> Role | None:
    return None if text is None else Role(text)


def cases(house: House) -> Iterator[Case]:
    """Without a key, and with a key or a session of each lesser role: refused by the head."""
    for one in operations(house):
        if one.least is None:
            continue
        path = filled(one.path, house.ids)
        yield Case(f"{one.id} by a stranger", request(one.method, path), (401,))
        for name, role in (("viewer", Role.VIEWER), ("alice", Role.USER)):
            if RANKS.index(role) < RANKS.index(one.least):
                sent = request(one.method, path, bearer(house.keys[name]))
                yield Case(f"{one.id} by {name}", sent, (403,))
                if one.method != "GET":
                    sent = request(one.method, path, cookie(house.sessions[name]))
                    yield Case(f"{one.id} by {name} in a browser", sent, (403,))


def pairs(house: House) -> Iterator[tuple[str, bytes, bytes]]:
    """Calls by bob with an id of alice's, and the same with one that never was."""
    for one in operations(house):
        if one.least not in (Role.VIEWER, Role.USER) or not one.has_owned_id:
            continue
        never = house.ids | dict.fromkeys(OWNED, NEVER)
        yield one.id, _by_bob(house, one, house.ids), _by_bob(house, one, never)
    for kind, method, path, body in _elsewhere():
        ids = (house.ids["job_id"], house.ids["image_id"], house.ids["key_id"])
        sent = [
            request(method, path.format(*some), bearer(house.keys["bob"]), body=_with(body, some))
            for some in (ids, (NEVER,) * 3)
        ]
        yield kind, sent[0], sent[1]


def _elsewhere() -> Iterator[tuple[str, str, str, dict[str, object] | None]]:
    """Places where a job is {0}, an image {1} and a key {2}, beside the path."""
    yield "jobs of a key", "GET", "/v1/jobs?key={2}", None
    yield "images of a key", "GET", "/v1/images?key={2}", None
    yield "jobs of a key by its name", "GET", "/v1/jobs?key=alice&engine_id={0}", None
    yield "a job like an image", "POST", "/v1/jobs", {"like": "{1}"}
    yield "the task of A1111", "POST", "/internal/progress", {"id_task": "{0}"}


def _with(body: dict[str, object] | None, some: tuple[str, ...]) -> object:
    return None if body is None else {name: str(value).format(*some) for name, value in body.items()}


def _by_bob(house: House, one: Operation, ids: Mapping[str, str]) -> bytes:
    body = BODIES.get(one.id)
    return request(one.method, filled(one.path, ids), bearer(house.keys["bob"]), body=body)
