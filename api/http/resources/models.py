"""/v1/models"""

import falcon

from api.http.contract.model_names import MAX_NAMED, several
from api.http.contract.model_types import (
    Model,
    ModelCreateQuery,
    ModelDeleteQuery,
    ModelInput,
    ModelListQuery,
    ModelPage,
    ModelPruneInput,
    ModelsRemoved,
    check_model,
    filter_of,
    model_of,
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
        self._create_query = QueryReader(ModelCreateQuery)
        self._delete_query = QueryReader(ModelDeleteQuery)
        self._list_query = QueryReader(ModelListQuery)

    def create(self, req: falcon.Request, resp: falcon.Response) -> None:
        """202 while it is inspected, 201 if it is new and ready, 200 if it was registered before."""
        query = self._create_query.read(req)
        ask = register_model(self._body.read(req))
        self._answer(resp, self._bus.ask(ask, ModelAccepted, read_key(req)), query)

    def upload(self, req: falcon.Request, resp: falcon.Response) -> None:
        """As `create`, with the file in the form; a refused file is removed."""
        uploaded = receive(req, self._uploads)
        try:
            query, key = self._create_query.read(req), read_key(req)
            ask = register_upload(uploaded)
            if key is not None:
                uploaded, ask = named_by_key(uploaded, ask, key, self._is_registered)
            accepted = self._bus.ask(ask, ModelAccepted, key)
        except ManagerUnreachable:
            raise  # it may be registered nevertheless; if not, the Manager's next start removes the file
        except SpoonError:
            uploaded.discard()
            raise
        self._answer(resp, accepted, query)

    def _answer(self, resp: falcon.Response, accepted: ModelAccepted, query: ModelCreateQuery) -> None:
        row = self._waiting.until(
            accepted.model_id, lambda: find_model(self._reader, accepted.model_id), _is_over, query.wait or 0
        )
        if row is None:
            raise ModelNotFound
        resp.location = f"/v1/models/{row.model_id}"
        send(resp, _status_of(row, is_new=accepted.created), self._shown(row))

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        page = list_models(self._reader, filter_of(query), query.limit, query.after)
        items = tuple(self._shown(row) for row in page.items)
        send(resp, 200, ModelPage(items=items, next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        send(resp, 200, self._shown(self._find(model_id)))

    def retry(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        ask = RetryModel(model_id=self._find(model_id).model_id)
        accepted = self._bus.ask(ask, ModelAccepted, read_key(req))
        send(resp, 202, self._shown(self._find(accepted.model_id)))

    def delete(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        files = self._delete_query.read(req).files
        self._bus.ask(DeleteModel(model_id=self._find(model_id).model_id, files=files), Done)
        send_nothing(resp)

    def prune(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Prune deleted models; there are so few that one response covers all."""
        refuse_key(req)
        dry_run = self._prune_body.read(req).dry_run
        found = self._bus.ask(PruneModels(dry_run=dry_run), ModelsPruned)
        send(resp, 200, ModelsRemoved(models=found.models, size_bytes=found.size_bytes, dry_run=dry_run))

    def _find(self, model: str) -> ModelRow:
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


def _is_over(row: ModelRow) -> bool:
    return row.status is not ModelState.DOWNLOADING


def _status_of(row: ModelRow, *, is_new: bool) -> int:
    if not _is_over(row):
        return 202
    return 201 if is_new else 200
