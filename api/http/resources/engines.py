"""/v1/engines"""

import falcon
from msgspec.structs import asdict

from api.http.contract.constraints import WaitQuery
from api.http.contract.engine_input import (
    ENGINE_BODY,
    ENGINE_EDIT,
    check_edit,
    check_engine,
    create_engine,
    edit_engine,
)
from api.http.contract.engine_types import (
    Engine,
    EngineCreateQuery,
    EngineDeleteQuery,
    EngineEdited,
    EngineListQuery,
    EngineModelsQuery,
    EnginePage,
    EngineStopQuery,
    KeptOrDeleted,
    checked_of,
    engine_of,
    filter_of,
    referring,
)
from api.http.contract.model_names import ModelNames
from api.http.contract.model_types import ModelPage, model_of
from api.http.contract.request_parsing import BodyReader, QueryReader, read_key, refuse_key
from api.http.contract.responses import send, send_nothing
from api.http.resources.waiting import Waiting
from api.hub import Hub
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
from kernel.protocol.enums import EngineState
from kernel.protocol.errors import EngineNotFound
from kernel.protocol.ids import EngineId
from kernel.protocol.memory import EngineValid
from kernel.views.engines import find_engine, list_engines
from kernel.views.models import list_models_for
from kernel.views.names import names_of
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow


class Engines:
    """Create, list, show, edit, start, stop, pause and delete engines; paths have an engine's id or name."""

    def __init__(self, bus: BusPort, reader: Reader, hub: Hub, waiting: Waiting, limits: Server) -> None:
        self._bus = bus
        self._reader = reader
        self._hub = hub
        self._waiting = waiting
        self._limits = limits
        self._body = BodyReader(
            ENGINE_BODY, frozenset(), lambda found, faults: check_engine(found, limits, faults)
        )
        self._names = ModelNames(reader)
        self._create_query = QueryReader(EngineCreateQuery)
        self._list_query = QueryReader(EngineListQuery)
        self._models_query = QueryReader(EngineModelsQuery)
        self._stop_query = QueryReader(EngineStopQuery)
        self._delete_query = QueryReader(EngineDeleteQuery)
        self._wait_query = QueryReader(WaitQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        """201; with `wait` once it is ready or has failed; `validate_only` 200."""
        query = self._create_query.read(req)
        wait_s = query.wait
        ask = create_engine(self._body.read(req), self._names, validate_only=query.validate_only)
        if query.validate_only:
            send(resp, 200, checked_of(self._bus.ask(ask, EngineValid)))
            return
        self._waiting.check_room(wait_s)
        engine_id = self._bus.ask(ask, EngineAccepted, read_key(req)).engine_id
        self._answer(req, resp, engine_id, wait_s, (201, 201))

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        page = list_engines(self._reader, filter_of(query), query.limit, query.after)
        names = names_of(self._reader, map(referring, page.items))
        items = tuple(engine_of(row, names, self._hub.engine_progress(row.engine_id)) for row in page.items)
        send(resp, 200, EnginePage(items=items, next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        """With `wait`, as soon as it neither starts nor stops."""
        wait_s = self._wait_query.read(req).wait
        self._answer(req, resp, self._find(engine_id).engine_id, wait_s, (200, 200))

    def edit(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        """Repeating it changes nothing, so it takes no key."""
        refuse_key(req)
        row = self._find(engine_id)
        body = BodyReader(
            ENGINE_EDIT,
            frozenset(),
            lambda found, faults: check_edit(found, row.spec, self._limits, faults),
        )
        ask = edit_engine(body.read(req), row.engine_id, row.spec, self._names)
        reloads = self._bus.ask(ask, EngineAccepted).reloads
        shown = self._shown(self._find(row.engine_id))
        send(resp, 200, EngineEdited(**asdict(shown), reloads=reloads))

    def start(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        """202; with `wait` 200 once it is ready or has failed."""
        wait_s = self._wait_query.read(req).wait
        self._order(req, resp, StartEngine(engine_id=self._find(engine_id).engine_id), wait_s)

    def stop(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        """202; with `wait` 200 once it is closed."""
        query = self._stop_query.read(req)
        ask = StopEngine(engine_id=self._find(engine_id).engine_id, now=query.now)
        self._order(req, resp, ask, query.wait)

    def pause(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._bus.ask(PauseQueue(engine_id=self._find(engine_id).engine_id), Done)
        send(resp, 200, self._shown(self._find(engine_id)))

    def resume(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        self._bus.ask(ResumeQueue(engine_id=self._find(engine_id).engine_id), Done)
        send(resp, 200, self._shown(self._find(engine_id)))

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

    def _order(
        self, req: falcon.Request, resp: falcon.Response, ask: StartEngine | StopEngine, wait_s: float | None
    ) -> None:
        self._waiting.check_room(wait_s)
        engine_id = self._bus.ask(ask, EngineAccepted).engine_id
        self._answer(req, resp, engine_id, wait_s, (202, 200 if wait_s else 202))

    def _answer(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        engine_id: EngineId,
        wait_s: float | None,
        statuses: tuple[int, int],
    ) -> None:
        """`statuses`: while there is something to wait for, and then."""

        def look(resp: falcon.Response, is_last: bool) -> bool:
            row = self._find(engine_id)
            is_resting = _is_resting(row)
            if not (is_resting or is_last):
                return False
            if req.method == "POST":
                resp.location = f"/v1/engines/{engine_id}"
            send(resp, statuses[is_resting], self._shown(row))
            return True

        self._waiting.answer(req, resp, engine_id, wait_s, look)

    def _shown(self, row: EngineRow) -> Engine:
        progress = self._hub.engine_progress(row.engine_id)
        return engine_of(row, names_of(self._reader, [referring(row)]), progress)

    def _find(self, engine: str) -> EngineRow:
        row = find_engine(self._reader, engine)
        if row is None:
            raise EngineNotFound(f"no engine has the id or name {engine!r}")
        return row


def _is_resting(row: EngineRow) -> bool:
    """True if it neither starts nor stops. One that waits for memory keeps its earlier state."""
    return row.waits_since_ms is None and row.status not in (EngineState.STARTING, EngineState.STOPPING)
