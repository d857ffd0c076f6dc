"""GET /v1/models and one model: in a shape for OpenAI's clients, and for ours."""

from typing import Literal

import falcon
import msgspec

from api.http.compat.openai.targets import find_target, public_names
from api.http.contract.model_types import OWNER, ModelPage
from api.http.contract.responses import send
from api.http.resources.models import Models
from kernel.protocol.errors import ModelNotFound
from kernel.views.engines import job_targets
from kernel.views.reader import Reader
from kernel.views.rows import JobTarget


class OpenAiModel(msgspec.Struct, frozen=True, kw_only=True):
    """An engine or a checkpoint, as what OpenAI calls a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = OWNER


class ModelList(ModelPage, frozen=True, kw_only=True):
    """A page of models, newest first. `data` has what `model` may be in OpenAI's requests, whatever the
    filters: the named engines and the ready checkpoints."""

    object: Literal["list"] = "list"
    data: tuple[OpenAiModel, ...]


class ModelsForBoth:
    """Lists and shows models."""

    def __init__(self, models: Models, reader: Reader) -> None:
        self._models = models
        self._reader = reader

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        page = self._models.page(req)
        names = public_names(job_targets(self._reader))
        data = tuple(_model_of(name, target) for name, target in names)
        send(resp, 200, ModelList(items=page.items, next=page.next, data=data))

    def show(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        """A model, else an engine with that id or name. Raises: as Models.show."""
        try:
            self._models.show(req, resp, model_id)
        except ModelNotFound:
            target = find_target(job_targets(self._reader), model_id)
            if target is None:
                raise
            send(resp, 200, _model_of(model_id, target))


def _model_of(name: str, target: JobTarget) -> OpenAiModel:
    return OpenAiModel(id=name, created=target.created_at_ms // 1_000)
