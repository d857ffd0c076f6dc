"""What A1111's clients change: their options, the list of models, and what is loaded."""

from typing import Final

import falcon
import msgspec

from api.http.compat.a1111.options import OptionStore, Settings
from api.http.compat.a1111.reading import strange_parameters
from api.http.compat.a1111.sending import send_null, send_told
from api.http.compat.a1111.tasks import client_of
from api.http.contract.request_parsing import BodyReader, find_nothing
from api.http.resources.waiting import Waiting
from api.port import BusPort
from kernel.protocol.client import Done, EngineAccepted, ScanModels, StopEngine
from kernel.protocol.enums import EngineState
from kernel.protocol.errors import IllegalMove, NoModelFolders, NotSupported
from kernel.views.engines import EngineFilter, list_engines
from kernel.views.models import last_scan
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow

SCAN_PATIENCE_S: Final = 60.0
_SCAN: Final = "scan"
_LOADED: Final = frozenset({EngineState.READY, EngineState.STARTING})
_MOST: Final = 1_000


class AnyObject(msgspec.Struct, frozen=True, kw_only=True):
    """Whatever an object may have."""


class Control:
    """Options, refreshing, and memory."""

    def __init__(
        self, bus: BusPort, reader: Reader, waiting: Waiting, settings: Settings, store: OptionStore
    ) -> None:
        self._bus = bus
        self._reader = reader
        self._waiting = waiting
        self._settings = settings
        self._store = store
        self._body = BodyReader(AnyObject, frozenset(), find_nothing)

    def show_options(self, req: falcon.Request, resp: falcon.Response) -> None:
        """GET /sdapi/v1/options"""
        options = self._store.load(client_of(req).key)
        send_told(resp, self._settings.shown(options), strange_parameters(req))

    def set_options(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/options: what is posted back unchanged changes nothing."""
        told = strange_parameters(req)
        said = self._body.fields_of(self._body.body_of(req))
        caller = client_of(req).key
        own = self._store.load(caller)
        shown = msgspec.to_builtins(self._settings.shown(own))
        new = {name: value for name, value in said.items() if name not in shown or value != shown[name]}
        changed = self._settings.changed(own, new, "", told)
        if changed != own:
            self._store.save(caller, changed)
        send_null(resp, told)

    def refresh(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Look for models in models.folders, and answer when that has ended."""
        told = strange_parameters(req)
        self._waiting.check_room(SCAN_PATIENCE_S)
        try:
            self._bus.ask(ScanModels(), Done)
        except NoModelFolders:
            send_null(resp, told)  # then every model is registered, and the lists are as new as can be
            return

        def look(resp: falcon.Response, is_last: bool) -> bool:
            if last_scan(self._reader).is_running and not is_last:
                return False
            send_null(resp, told)
            return True

        self._waiting.answer(req, resp, _SCAN, SCAN_PATIENCE_S, look)

    def unload(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Stop the engines of the caller's checkpoint that have nothing to do; a job starts them again."""
        told = strange_parameters(req)
        chosen = self._settings.chosen_or_none(self._store.load(client_of(req).key))
        for engine in [] if chosen is None else self._engines_of(chosen.checkpoint.model_id):
            if engine.jobs_waiting or engine.jobs_processing:
                told.append(f"engine {engine.name or engine.engine_id} has jobs: it stays loaded")
            elif engine.status in _LOADED:
                self._stop(engine)
        send_told(resp, {}, told)

    def reload(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Nothing is to be done: an engine loads its checkpoint with its next job."""
        send_told(resp, {}, strange_parameters(req))

    def interrogate(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise NotSupported("interrogate: this server describes no images")

    def train(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise NotSupported("this server trains no models: register one that was trained elsewhere")

    def _engines_of(self, checkpoint: str) -> tuple[EngineRow, ...]:
        return list_engines(self._reader, EngineFilter(checkpoint=checkpoint), _MOST).items

    def _stop(self, engine: EngineRow) -> None:
        try:
            self._bus.ask(StopEngine(engine_id=engine.engine_id), EngineAccepted)
        except IllegalMove:
            return  # it has stopped meanwhile
