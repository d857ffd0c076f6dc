"""/v1/workers and /v1/workers/tokens, for admins: what there is comes from the Manager, tokens from the
database."""

from collections.abc import Callable
from typing import Final

import falcon
from msgspec.structs import asdict

from api.http.contract.request_parsing import BodyReader, QueryReader, find_nothing, read_key, refuse_key
from api.http.contract.responses import send, send_nothing
from api.http.contract.worker_types import (
    NewWorkerToken,
    TokenListQuery,
    WorkerEdit,
    WorkerList,
    WorkerListQuery,
    WorkerTokenInput,
    WorkerTokenPage,
    check_token,
    create_token,
    ended_of,
    token_of,
    worker_of,
)
from api.port import BusPort
from kernel.protocol.client import Done
from kernel.protocol.errors import TokenNotFound, WorkerNotFound
from kernel.protocol.ids import TokenId, WorkerId
from kernel.protocol.rows import WorkerTokenRow
from kernel.protocol.status import WorkerFigures
from kernel.protocol.worker_tokens import (
    CordonWorker,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
    WorkerTokenIssued,
)
from kernel.views.reader import Reader
from kernel.views.worker_tokens import find_worker_token, list_worker_tokens

PATIENCE_S: Final = 5.0


class WorkerTokens:
    """Create, list, show and revoke enrollment tokens."""

    def __init__(self, bus: BusPort, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._reader = reader
        self._now_ms = now_ms
        self._body = BodyReader(WorkerTokenInput, frozenset(), check_token)
        self._list_query = QueryReader(TokenListQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        issued = self._bus.ask(create_token(self._body.read(req)), WorkerTokenIssued, read_key(req))
        resp.set_header("Cache-Control", "no-store")
        made = token_of(self._find(issued.token_id), self._now_ms())
        send(resp, 201, NewWorkerToken(**asdict(made), token=issued.text))

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        page, now_ms = list_worker_tokens(self._reader, query.limit, query.after), self._now_ms()
        items = tuple(token_of(row, now_ms) for row in page.items)
        send(resp, 200, WorkerTokenPage(items=items, next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, token_id: str) -> None:
        send(resp, 200, token_of(self._find(token_id), self._now_ms()))

    def revoke(self, req: falcon.Request, resp: falcon.Response, token_id: str) -> None:
        self._bus.ask(RevokeWorkerToken(token_id=TokenId(token_id)), Done)
        self.show(req, resp, token_id)

    def _find(self, token_id: str) -> WorkerTokenRow:
        row = find_worker_token(self._reader, token_id)
        if row is None:
            raise TokenNotFound(f"no enrollment token has the id {token_id!r}")
        return row


class Workers:
    """List, show, cordon, drain and cut off workers."""

    def __init__(self, bus: BusPort, reader: Reader, now_ms: Callable[[], int]) -> None:
        self.tokens = WorkerTokens(bus, reader, now_ms)
        self._bus = bus
        self._list_query = QueryReader(WorkerListQuery)
        self._edit_body = BodyReader(WorkerEdit, frozenset(), find_nothing)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        pool = self._list_query.read(req).pool
        status = self._bus.status(PATIENCE_S)
        items = tuple(worker_of(one) for one in status.workers if pool in (None, one.pool))
        ended = tuple(ended_of(one) for one in status.ended_workers if pool in (None, one.pool))
        send(resp, 200, WorkerList(items=items, ended=ended))

    def show(self, req: falcon.Request, resp: falcon.Response, worker_id: str) -> None:
        send(resp, 200, worker_of(self._find(worker_id)))

    def change(self, req: falcon.Request, resp: falcon.Response, worker_id: str) -> None:
        """Repeating it changes nothing, so it takes no idempotency key."""
        refuse_key(req)
        edit, found = self._edit_body.read(req), WorkerId(worker_id)
        if edit.cordoned is not None:
            self._bus.ask(CordonWorker(worker_id=found, is_cordoned=edit.cordoned), Done)
        if edit.drain:
            self._bus.ask(DrainWorker(worker_id=found), Done)
        send(resp, 200, worker_of(self._find(worker_id)))

    def revoke(self, req: falcon.Request, resp: falcon.Response, worker_id: str) -> None:
        self._bus.ask(RevokeWorker(worker_id=WorkerId(worker_id)), Done)
        send_nothing(resp)

    def _find(self, worker_id: str) -> WorkerFigures:
        for one in self._bus.status(PATIENCE_S).workers:
            if one.worker_id == worker_id:
                return one
        raise WorkerNotFound(f"no worker has the id {worker_id!r}: it may have ended")
