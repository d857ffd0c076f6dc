"""/v1/engines"""

import falcon

from api.http.contract.engine_input import ENGINE_BODY, check_engine, create_engine
from api.http.contract.engine_types import (
    Engine,
    EngineDeleteQuery,
    EngineListQuery,
    EngineModelsQuery,
    EnginePage,
    EngineStopQuery,
    KeptOrDeleted,
    engine_of,
    filter_of,
    referring,
)
from api.http.contract.model_names import ModelNames
from api.http.contract.model_types import ModelPage, model_of
from api.http.contract.request_parsing import BodyReader, QueryReader, read_key
from api.http.contract.responses import send, send_nothing
from api.port import BusPort
from conf.settings import Server
from kernel.protocol.client import (
    DeleteEngine,
    Done,
    EngineAccepted,
    PauseQueue,
    ResumeQueue,
    StartEngine,
    StopEngine,
)
from kernel.protocol.errors import EngineNotFound
from kernel.views.engines import find_engine, list_engines
from kernel.views.models import list_models_for
from kernel.views.names import names_of
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow


class Engines:
    """Create, list, show, start, stop, pause and delete engines; paths have an engine's id or name."""

    def __init__(self, bus: BusPort, reader: Reader, limits: Server) -> None:
        self._bus = bus
        self._reader = reader
        self._body = BodyReader(
            ENGINE_BODY, frozenset(), lambda found, faults: check_engine(found, limits, faults)
        )
        self._names = ModelNames(reader)
        self._list_query = QueryReader(EngineListQuery)
        self._models_query = QueryReader(EngineModelsQuery)
        self._stop_query = QueryReader(EngineStopQuery)
        self._delete_query = QueryReader(EngineDeleteQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        ask = create_engine(self._body.read(req), self._names)
        engine_id = self._bus.ask(ask, EngineAccepted, read_key(req)).engine_id
        resp.location = f"/v1/engines/{engine_id}"
        send(resp, 201, self._shown(engine_id))

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        page = list_engines(self._reader, filter_of(query), query.limit, query.after)
        names = names_of(self._reader, map(referring, page.items))
        items = tuple(engine_of(row, names) for row in page.items)
        send(resp, 200, EnginePage(items=items, next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        send(resp, 200, self._shown(engine_id))

    def start(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._order(resp, StartEngine(engine_id=self._find(engine_id).engine_id))

    def stop(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        now = self._stop_query.read(req).now
        self._order(resp, StopEngine(engine_id=self._find(engine_id).engine_id, now=now))

    def pause(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._bus.ask(PauseQueue(engine_id=self._find(engine_id).engine_id), Done)
        send(resp, 200, self._shown(engine_id))

    def resume(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._bus.ask(ResumeQueue(engine_id=self._find(engine_id).engine_id), Done)
        send(resp, 200, self._shown(engine_id))

    def models(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        """The models that its jobs, and the engine itself, can name."""
        query, spec = self._models_query.read(req), self._find(engine_id).spec
        page = list_models_for(self._reader, spec.checkpoint, query.type, query.limit, query.after)
        items = tuple(model_of(row, None) for row in page.items)
        send(resp, 200, ModelPage(items=items, next=page.next_after))

    def delete(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        keeps_images = self._delete_query.read(req).images is KeptOrDeleted.KEEP
        ask = DeleteEngine(engine_id=self._find(engine_id).engine_id, keep_images=keeps_images)
        self._bus.ask(ask, Done)
        send_nothing(resp)

    def _order(self, resp: falcon.Response, ask: StartEngine | StopEngine) -> None:
        engine_id = self._bus.ask(ask, EngineAccepted).engine_id
        send(resp, 202, self._shown(engine_id))

    def _shown(self, engine: str) -> Engine:
        row = self._find(engine)
        return engine_of(row, names_of(self._reader, [referring(row)]))

    def _find(self, engine: str) -> EngineRow:
        row = find_engine(self._reader, engine)
        if row is None:
            raise EngineNotFound(f"no engine has the id or name {engine!r}")
        return row
