"""Completes names of engines and models in the shell, by asking the running server; silent without one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from api.cli.context import Invocation
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import SpoonError

Completer = Callable[[click.Context, click.Parameter, str], list[str]]

_TIMEOUT_S: Final = 1.0
"""A person waits for it between two keys."""


def _names_at(path: str, query: Mapping[str, str] | None = None, also: tuple[str, ...] = ()) -> Completer:
    """Completes the names of a list of the REST API, and these words."""

    def complete(context: click.Context, parameter: click.Parameter, beginning: str) -> list[str]:
        try:
            names = _names(_invocation(context), path, query or {})
        except (SpoonError, OSError):
            names = []
        return sorted({name for name in (*names, *also) if name.startswith(beginning)})

    return complete


def _names(invocation: Invocation, path: str, query: Mapping[str, str]) -> list[str]:
    from api.cli.client.client_models import list_names

    with invocation.rest(_TIMEOUT_S) as rest:
        return list_names(rest, path, query)


def _invocation(context: click.Context) -> Invocation:
    """The global options: while it completes, click reads them, but runs no command that keeps them."""
    root = context.find_root()
    config, url = root.params.get("config_file"), root.params.get("url")
    return Invocation(
        config=Path(config) if config else None,
        url=url,
        environ=root.obj if isinstance(root.obj, Mapping) else {},
    )


engine_names = _names_at("/v1/engines")
model_names = _names_at("/v1/models")
checkpoints = _names_at("/v1/models", {"model_type": ModelType.CHECKPOINT})
loras = _names_at("/v1/models", {"model_type": ModelType.LORA})
vaes = _names_at("/v1/models", {"model_type": ModelType.VAE}, ("checkpoint",))
embeddings = _names_at("/v1/models", {"model_type": ModelType.EMBEDDING})
controlnets = _names_at("/v1/models", {"model_type": ModelType.CONTROLNET})
removers = _names_at("/v1/models", {"model_type": ModelType.BACKGROUND})
