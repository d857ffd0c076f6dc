"""/v1/engines"""

import falcon

from api.http.contract.engine_input import ENGINE_BODY, check_engine, create_engine
from api.http.contract.engine_types import (
    EngineListQuery,
    EnginePage,
    EngineStopQuery,
    engine_of,
    filter_of,
)
from api.http.contract.model_names import ModelNames
from api.http.contract.request_parsing import BodyReader, QueryReader, read_key
from api.http.contract.responses import send, send_nothing
from api.port import BusPort
from conf.settings import Server
from kernel.protocol.client import DeleteEngine, Done, EngineAccepted, StartEngine, StopEngine
from kernel.protocol.errors import EngineNotFound
from kernel.protocol.ids import EngineId
from kernel.views.engines import find_engine, list_engines
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow


class Engines:
    """Create, list, show, start, stop and delete engines."""

    def __init__(self, bus: BusPort, reader: Reader, limits: Server) -> None:
        self._bus = bus
        self._reader = reader
        self._body = BodyReader(
            ENGINE_BODY, frozenset(), lambda found, faults: check_engine(found, limits, faults)
        )
        self._names = ModelNames(reader)
        self._list_query = QueryReader(EngineListQuery)
        self._stop_query = QueryReader(EngineStopQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        ask = create_engine(self._body.read(req), self._names)
        engine_id = self._bus.ask(ask, EngineAccepted, read_key(req)).engine_id
        resp.location = f"/v1/engines/{engine_id}"
        send(resp, 201, engine_of(self._find(engine_id)))

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        page = list_engines(self._reader, filter_of(query), query.limit, query.after)
        send(resp, 200, EnginePage(items=tuple(map(engine_of, page.items)), next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        send(resp, 200, engine_of(self._find(engine_id)))

    def start(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._order(resp, StartEngine(engine_id=EngineId(engine_id)))

    def stop(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        now = self._stop_query.read(req).now
        self._order(resp, StopEngine(engine_id=EngineId(engine_id), now=now))

    def delete(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._bus.ask(DeleteEngine(engine_id=EngineId(engine_id)), Done)
        send_nothing(resp)

    def _order(self, resp: falcon.Response, ask: StartEngine | StopEngine) -> None:
        engine_id = self._bus.ask(ask, EngineAccepted).engine_id
        send(resp, 202, engine_of(self._find(engine_id)))

    def _find(self, engine_id: str) -> EngineRow:
        row = find_engine(self._reader, EngineId(engine_id))
        if row is None:
            raise EngineNotFound(f"no engine has the id {engine_id!r}")
        return row
