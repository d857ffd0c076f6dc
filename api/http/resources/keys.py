"""/v1/keys: API keys, for admins; on a server without keys the first one is made on its own machine."""

from collections.abc import Callable

import falcon

from api.http.contract.caller import caller_of
from api.http.contract.key_types import (
    KEY_EDIT,
    KeyInput,
    KeyListQuery,
    KeyPage,
    KeyRotation,
    change_key,
    check_key,
    check_key_edit,
    check_rotation,
    create_key,
    key_of,
    new_key,
    rotate_key,
)
from api.http.contract.request_parsing import BodyReader, QueryReader, read_key, refuse_key
from api.http.contract.responses import send
from api.port import BusPort
from kernel.protocol.api_keys import CreateKey, KeyIssued, RevokeKey, RotateKey
from kernel.protocol.client import Done
from kernel.protocol.errors import KeyMissing, KeyNotFound
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow
from kernel.views.keys import key_called, list_keys
from kernel.views.reader import Reader


class Keys:
    """Create, list, show, change, rotate and revoke keys; paths have a key's id or name."""

    def __init__(self, bus: BusPort, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._reader = reader
        self._now_ms = now_ms
        self._body = BodyReader(KeyInput, frozenset(), check_key)
        self._edit_body = BodyReader(KEY_EDIT, frozenset(), check_key_edit)
        self._rotation_body = BodyReader(KeyRotation, frozenset(), check_rotation)
        self._list_query = QueryReader(KeyListQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        _check_has_key(req)
        self._send_issued(req, resp, create_key(self._body.read(req)), 201)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        page, now_ms = list_keys(self._reader, query.limit, query.after), self._now_ms()
        send(resp, 200, KeyPage(items=tuple(key_of(row, now_ms) for row in page.items), next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        self._send(resp, self._find(key_id).key_id)

    def change(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        """Repeating it changes nothing, so it takes no idempotency key."""
        refuse_key(req)
        ask = change_key(self._edit_body.read(req), self._find(key_id).key_id)
        self._bus.ask(ask, Done)
        self._send(resp, ask.key_id)

    def rotate(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        ask = rotate_key(self._rotation_body.read(req), self._find(key_id).key_id)
        self._send_issued(req, resp, ask, 200)

    def revoke(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        found = self._find(key_id).key_id
        self._bus.ask(RevokeKey(key_id=found), Done)
        self._send(resp, found)

    def _send_issued(
        self, req: falcon.Request, resp: falcon.Response, ask: CreateKey | RotateKey, status: int
    ) -> None:
        issued = self._bus.ask(ask, KeyIssued, read_key(req))
        resp.set_header("Cache-Control", "no-store")
        send(resp, status, new_key(self._find(issued.key_id), self._now_ms(), issued.text))

    def _send(self, resp: falcon.Response, key_id: KeyId) -> None:
        send(resp, 200, key_of(self._find(key_id), self._now_ms()))

    def _find(self, key_id: str) -> KeyRow:
        row = key_called(self._reader, key_id)
        if row is None:
            raise KeyNotFound(f"no API key has the id or name {key_id!r}")
        return row


def _check_has_key(req: falcon.Request) -> None:
    """Check that somebody who makes keys has one: else a stranger could make the first, and lock others out.

    Raises: KeyMissing.
    """
    if caller_of(req).key_id is None:
        raise KeyMissing("the first key is made on the server itself: spoon keys create NAME --role admin")
