"""Completes names of engines and models in the shell, from the database or a server; otherwise silent."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from api.cli.context import Invocation
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import DatabaseUnusable, SpoonError

Completer = Callable[[click.Context, click.Parameter, str], list[str]]

_ENGINES: Final = "engines"
_MODELS: Final = "models"
_TIMEOUT_S: Final = 1.0
"""A person waits for it between two keys."""


def _names_of(kind: str, model_type: ModelType | None = None, also: tuple[str, ...] = ()) -> Completer:
    """Completes the names of engines or models, and these words."""

    def complete(context: click.Context, parameter: click.Parameter, beginning: str) -> list[str]:
        try:
            names = _names(_invocation(context), kind, model_type)
        except (SpoonError, OSError):
            names = []
        return sorted({name for name in (*names, *also) if name.startswith(beginning)})

    return complete


def _names(invocation: Invocation, kind: str, model_type: ModelType | None) -> list[str]:
    """From the database if this user can read it, which takes no server; otherwise by the REST API."""
    if not invocation.named_url():
        with suppress(DatabaseUnusable):  # the user has none, but perhaps a service of this machine
            return _names_in(invocation.settings().database_file, kind, model_type)
    from api.cli.client.client_models import list_names

    with invocation.rest(_TIMEOUT_S) as rest:
        return list_names(rest, f"/v1/{kind}", {"model_type": model_type} if model_type else {})


def _names_in(database: Path, kind: str, model_type: ModelType | None) -> list[str]:
    """Raises: DatabaseUnusable, if there is no database, or it cannot be read or is of another version."""
    from api.cli.installation.database_copy import read_only
    from kernel.views.named_sql import load_queries

    query = load_queries("api.cli.installation", "names.sql")[kind]
    with read_only(database) as connection:
        return [str(name) for (name,) in connection.execute(query, {"model_type": model_type})]


def _invocation(context: click.Context) -> Invocation:
    """The global options: while it completes, click reads them, but runs no command that keeps them."""
    root = context.find_root()
    config, url = root.params.get("config_file"), root.params.get("url")
    return Invocation(
        config=Path(config) if config else None,
        url=url,
        environ=root.obj if isinstance(root.obj, Mapping) else {},
    )


engine_names = _names_of(_ENGINES)
model_names = _names_of(_MODELS)
checkpoints = _names_of(_MODELS, ModelType.CHECKPOINT)
loras = _names_of(_MODELS, ModelType.LORA)
vaes = _names_of(_MODELS, ModelType.VAE, ("checkpoint",))
embeddings = _names_of(_MODELS, ModelType.EMBEDDING)
controlnets = _names_of(_MODELS, ModelType.CONTROLNET)
removers = _names_of(_MODELS, ModelType.BACKGROUND)
