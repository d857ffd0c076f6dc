"""/v1/models"""

import falcon

from api.http.contract.constraints import WaitQuery
from api.http.contract.model_names import MAX_NAMED, several
from api.http.contract.model_types import (
    Model,
    ModelDeleteQuery,
    ModelInput,
    ModelListQuery,
    ModelPage,
    ModelPruneInput,
    ModelsRemoved,
    check_model,
    filter_of,
    model_of,
    one_model_of,
    register_model,
)
from api.http.contract.request_parsing import BodyReader, QueryReader, find_nothing, read_key, refuse_key
from api.http.contract.responses import send, send_nothing
from api.http.framework.uploads import UploadLimits
from api.http.resources.model_upload import receive, register_upload
from api.http.resources.upload_keys import named_by_key
from api.http.resources.waiting import Waiting
from api.hub import Hub
from api.port import BusPort
from kernel.protocol.client import DeleteModel, Done, ModelAccepted, ModelsPruned, PruneModels, RetryModel
from kernel.protocol.enums import ModelState
from kernel.protocol.errors import ManagerUnreachable, ModelNotFound, NameAmbiguous, SpoonError
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from kernel.views.models import find_model, find_model_of, list_models, models_named
from kernel.views.reader import Reader


class Models:
    """Register, upload, list, show, retry and delete models; paths have a model's id or name."""

    def __init__(
        self, bus: BusPort, reader: Reader, hub: Hub, waiting: Waiting, uploads: UploadLimits
    ) -> None:
        self._bus = bus
        self._reader = reader
        self._hub = hub
        self._waiting = waiting
        self._uploads = uploads
        self._body = BodyReader(ModelInput, frozenset(), check_model)
        self._prune_body = BodyReader(ModelPruneInput, frozenset(), find_nothing)
        self._wait_query = QueryReader(WaitQuery)
        self._delete_query = QueryReader(ModelDeleteQuery)
        self._list_query = QueryReader(ModelListQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        """202 while it is inspected, 201 if it is new and ready, 200 if it was registered before."""
        wait_s = self._wait_query.read(req).wait
        ask = register_model(self._body.read(req))
        self._waiting.check_room(wait_s)
        accepted = self._bus.ask(ask, ModelAccepted, read_key(req))
        self._answer(req, resp, accepted.model_id, wait_s, 201 if accepted.created else 200)

    def upload(self, req: falcon.Request, resp: falcon.Response) -> None:
        """As `create`, with the file in the form; a refused file is removed."""
        uploaded = receive(req, self._uploads)
        try:
            wait_s, key = self._wait_query.read(req).wait, read_key(req)
            ask = register_upload(uploaded)
            self._waiting.check_room(wait_s)
            if key is not None:
                uploaded, ask = named_by_key(uploaded, ask, key, self._is_registered)
            accepted = self._bus.ask(ask, ModelAccepted, key)
        except ManagerUnreachable:
            raise  # it may be registered nevertheless; if not, the Manager's next start removes the file
        except SpoonError:
            uploaded.discard()
            raise
        self._answer(req, resp, accepted.model_id, wait_s, 201 if accepted.created else 200)

    def page(self, req: falcon.Request) -> ModelPage:
        """The page of the list that a request asks for. Raises: InvalidField."""
        query = self._list_query.read(req)
        page = list_models(self._reader, filter_of(query), query.limit, query.after)
        items = tuple(self._shown(row) for row in page.items)
        return ModelPage(items=items, next=page.next_after)

    def show(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        """With `wait`, as soon as it is ready or in error."""
        wait_s, row = self._wait_query.read(req).wait, self.find(model_id)

        def look(resp: falcon.Response, is_last: bool) -> bool:
            row = self.find(model_id)
            if row.status is ModelState.DOWNLOADING and not is_last:
                return False
            send(resp, 200, one_model_of(self._shown(row), model_id))
            return True

        self._waiting.answer(req, resp, row.model_id, wait_s, look)

    def retry(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        """202; with `wait` 200 once it is ready or in error again."""
        wait_s, key = self._wait_query.read(req).wait, read_key(req)
        ask = RetryModel(model_id=self.find(model_id).model_id)
        self._waiting.check_room(wait_s)
        accepted = self._bus.ask(ask, ModelAccepted, key)
        self._answer(req, resp, accepted.model_id, wait_s, 200 if wait_s else 202)

    def delete(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        files = self._delete_query.read(req).files
        self._bus.ask(DeleteModel(model_id=self.find(model_id).model_id, files=files), Done)
        send_nothing(resp)

    def prune(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Prune deleted models; there are so few that one response covers all."""
        refuse_key(req)
        dry_run = self._prune_body.read(req).dry_run
        found = self._bus.ask(PruneModels(dry_run=dry_run), ModelsPruned)
        send(resp, 200, ModelsRemoved(models=found.models, size_bytes=found.size_bytes, dry_run=dry_run))

    def _answer(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        model_id: ModelId,
        wait_s: float | None,
        status: int,
    ) -> None:
        """`status`: once there is nothing to wait for; until then 202."""

        def look(resp: falcon.Response, is_last: bool) -> bool:
            row = self.find(model_id)
            is_open = row.status is ModelState.DOWNLOADING
            if is_open and not is_last:
                return False
            if req.method == "POST":
                resp.location = f"/v1/models/{row.model_id}"
            send(resp, 202 if is_open else status, self._shown(row))
            return True

        self._waiting.answer(req, resp, model_id, wait_s, look)

    def find(self, model: str) -> ModelRow:
        """By id or name. Raises: ModelNotFound; NameAmbiguous."""
        row = find_model(self._reader, ModelId(model))
        named = [row] if row is not None else models_named(self._reader, model, MAX_NAMED)
        if not named:
            raise ModelNotFound(f"no model has the id or name {model!r}")
        if len(named) > 1:
            raise NameAmbiguous(several(model, named))
        return named[0]

    def _is_registered(self, uri: str) -> bool:
        return find_model_of(self._reader, uri) is not None

    def _shown(self, row: ModelRow) -> Model:
        return model_of(row, self._hub.model_progress(row.model_id))
