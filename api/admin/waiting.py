"""Waiting until a model or an engine is what it is to become."""

import sys
import time
from collections.abc import Callable
from typing import Final

import click

from api.admin.exits import AwaitedFailed, Detached, TimedOut
from api.admin.output import counted_jobs
from api.admin.resources import Engine, Model, StoredError
from api.admin.rest import Rest, quoted, read
from api.admin.transfer_bar import TransferBar

START_S: Final = 900.0
"""How long an engine may take to run: until there is room for it, and until its checkpoint is read."""
_POLL_S: Final = 0.3


def await_model(rest: Rest, model_id: str) -> bytes:
    """The model once it is ready; a bar on stderr shows how far it is.

    Raises: AwaitedFailed, with its reason; Detached, on Ctrl-C: the server goes on.
    """
    bar = TransferBar(sys.stderr, "fetching")

    def look() -> bytes | None:
        body = rest.get(f"/v1/models/{quoted(model_id)}")
        model = read(body, Model)
        if model.status == "error":
            raise AwaitedFailed(f"model {model.name} cannot be used: {_reason(model.error)}")
        if (progress := model.progress) is not None:
            bar.show(progress.bytes, progress.total_bytes, progress.bytes_per_s)
        return body if model.status == "ready" else None

    try:
        return _wait(look, f"the model is still being prepared: see `spoon models show {model_id}`")
    finally:
        bar.close()


def await_running(rest: Rest, ordered: Engine, limit_s: float = START_S) -> bytes:
    """The engine once it runs; `ordered` is how it was when its start was accepted.

    Raises: AwaitedFailed, with its reason; TimedOut; Detached, on Ctrl-C.
    """
    history = [ordered.status]
    end = time.monotonic() + limit_s
    show = f"`spoon engines show {ordered.engine_id}`"

    def look() -> bytes | None:
        body = rest.get(f"/v1/engines/{quoted(ordered.engine_id)}")
        engine = read(body, Engine)
        if engine.status in ("ready", "working"):
            return body
        if engine.status != history[-1]:
            history.append(engine.status)
        if _has_failed(history):
            how = "cannot run" if engine.status == "error" else f"is {engine.status}"
            raise AwaitedFailed(f"the engine {how}: {_reason(engine.error)}")
        if time.monotonic() > end:
            raise TimedOut(f"the engine is still {engine.status}: see {show}")
        return None

    return _wait(look, f"the engine goes on: see {show}")


def _has_failed(history: list[str]) -> bool:
    """Whether an engine that is to run has ended, by the states that it went through.

    As long as room is made for it, it stays what it was: closed, still stopping, or in an old error.
    """
    if history[-1] == "closed":
        return "starting" in history or "stopping" in history[1:]
    return history[-1] == "error" and len(history) > 1


def await_closed(rest: Rest, engine_id: str) -> bytes:
    """The engine once it is closed, however long its jobs take; stderr says what it waits for.

    Raises: Detached, on Ctrl-C.
    """
    said: list[str] = []

    def look() -> bytes | None:
        body = rest.get(f"/v1/engines/{quoted(engine_id)}")
        engine = read(body, Engine)
        if engine.status in ("closed", "error"):
            return body
        running = 0 if engine.queue is None else engine.queue.processing
        text = f"{engine.status}: waiting for {counted_jobs(running)}" if running else engine.status
        if text not in said[-1:]:
            click.echo(text, err=True)
            said.append(text)
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
