"""Waiting until a model or an engine is what it is to become."""

import time
from collections.abc import Callable
from typing import Final

import click

from api.admin.exits import AwaitedFailed, Detached
from api.admin.resources import Engine, Model, StoredError
from api.admin.rest import Rest, quoted, read

_POLL_S: Final = 0.3


def await_model(rest: Rest, model_id: str) -> bytes:
    """The model once it is ready. Raises: AwaitedFailed, with its reason; Detached, on Ctrl-C."""

    def look() -> bytes | None:
        body = rest.get(f"/v1/models/{quoted(model_id)}")
        model = read(body, Model)
        if model.status == "error":
            raise AwaitedFailed(f"model {model.name} cannot be used: {_reason(model.error)}")
        return body if model.status == "ready" else None

    return _wait(look, f"the model is still being prepared: see `spoon models show {model_id}`")


def await_engine(rest: Rest, engine_id: str, is_to_run: bool) -> bytes:
    """The engine once it runs, or is closed. Raises: AwaitedFailed, with its reason; Detached, on Ctrl-C."""
    wanted = ("ready", "working") if is_to_run else ("closed", "error")

    def look() -> bytes | None:
        body = rest.get(f"/v1/engines/{quoted(engine_id)}")
        engine = read(body, Engine)
        if engine.status in wanted:
            return body
        if engine.status in ("error", "closed"):
            raise AwaitedFailed(f"the engine is {engine.status}: {_reason(engine.error)}")
        return None

    return _wait(look, f"the engine goes on: see `spoon engines show {engine_id}`")


def _reason(error: StoredError | None) -> str:
    return "no reason was given" if error is None else f"{error.detail} ({error.code})"


def _wait(look: Callable[[], bytes | None], goes_on: str) -> bytes:
    try:
        while (found := look()) is None:
            time.sleep(_POLL_S)
    except KeyboardInterrupt as interrupt:
        click.echo(err=True)
        raise Detached(goes_on) from interrupt
    return found
