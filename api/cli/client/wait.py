"""Wait until a model is ready, or an engine is ready or closed."""

import sys
import time
from collections.abc import Callable
from typing import Final

import click

from api.cli.client.client_models import Engine, Job, Model, Scan, StoredError, list_items
from api.cli.client.progress_bar import ProgressBar, duration, show_loading
from api.cli.client.rest import Rest, quoted, read
from api.cli.exit_codes import AwaitedFailed, Detached, TimedOut
from api.cli.output import counted_jobs, printable

START_S: Final = 900.0
"""Limit for an engine to become ready: memory must be free, and its checkpoint loaded."""
_POLL_S: Final = 0.3
_ENGINES_SHOWN: Final = 50
_JOBS_LOOKED_AT: Final = 50


def await_model(rest: Rest, model_id: str) -> bytes:
    """The model once it is ready, with a progress bar on stderr.

    Raises: AwaitedFailed, with its reason; Detached, on Ctrl-C: the server continues.
    """
    bar = ProgressBar(sys.stderr)

    def look() -> bytes | None:
        body = rest.get(f"/v1/models/{quoted(model_id)}")
        model = read(body, Model)
        if model.status == "error":
            raise AwaitedFailed(f"model {model.name} cannot be used: {_reason(model.error)}")
        if (progress := model.progress) is not None:
            bar.show_bytes("fetching", progress.bytes, progress.total_bytes, progress.bytes_per_s)
        return body if model.status == "ready" else None

    try:
        return _wait(
            look, f"interrupted; the server is still preparing the model, see `spoon models show {model_id}`"
        )
    finally:
        bar.close()


def await_scan(rest: Rest) -> bytes:
    """The scan of models.folders once it has ended, with a progress bar on stderr.

    Raises: AwaitedFailed, if it ended early; Detached, on Ctrl-C.
    """
    bar = ProgressBar(sys.stderr)

    def look() -> bytes | None:
        body = rest.get("/v1/models/scan", {"wait": 1})
        scan = read(body, Scan)
        if not scan.running and scan.error is not None:
            raise AwaitedFailed(f"the scan ended early: {scan.error}")
        if scan.running and scan.to_read:
            bar.show_files(scan.read, scan.to_read)
        return None if scan.running else body

    try:
        return _wait(look, "interrupted; the server goes on scanning, see `spoon models scan`")
    finally:
        bar.close()


def await_running(rest: Rest, ordered: Engine, limit_s: float = START_S) -> bytes:
    """The engine once it is ready; stderr says what it waits for. `ordered` is its state when its start was
    accepted.

    Raises: AwaitedFailed, with its reason; TimedOut; Detached, on Ctrl-C.
    """
    history = [ordered.status]
    end = time.monotonic() + limit_s
    show = f"`spoon engines show {ordered.engine_id}`"
    bar = ProgressBar(sys.stderr)

    def look() -> bytes | None:
        body = rest.get(f"/v1/engines/{quoted(ordered.engine_id)}")
        engine = read(body, Engine)
        if engine.status in ("ready", "working"):
            return body
        if engine.status != history[-1]:
            history.append(engine.status)
        if _has_failed(history):
            how = "failed to start" if engine.status == "error" else f"is {engine.status}"
            raise AwaitedFailed(f"the engine {how}: {_reason(engine.error)}")
        if time.monotonic() > end:
            raise TimedOut(f"timed out; the engine is still {engine.status}, see {show}")
        if engine.waiting_for_capacity is not None:
            bar.say(f"waiting: {printable(engine.waiting_for_capacity)}")
        elif engine.waiting_for_room:
            bar.say(room(rest))
        elif engine.progress is not None:
            show_loading(bar, engine.progress)
        return None

    try:
        return _wait(look, f"interrupted; the server is still starting the engine, see {show}")
    finally:
        bar.close()


def room(rest: Rest) -> str:
    """What an engine waits for that has no memory yet: the engines that hold it."""
    items = (read(item, Engine) for item in list_items(rest, "/v1/engines", {}, _ENGINES_SHOWN))
    holding = [
        f"{one.name or one.engine_id} ({one.status})"
        for one in items
        if one.status in ("ready", "working", "stopping") and not one.waiting_for_room
    ]
    return "waiting for memory" + (f", held by {', '.join(holding)}" if holding else "")


def _has_failed(history: list[str]) -> bool:
    """Whether a starting engine has failed, judged by the states that it went through.

    Until there is memory for it, it keeps its previous state: closed, still stopping, or an old error.
    """
    if history[-1] == "closed":
        return "starting" in history or "stopping" in history[1:]
    return history[-1] == "error" and len(history) > 1


def await_closed(rest: Rest, engine_id: str) -> bytes:
    """The engine once it is closed, however long its jobs take, with progress on stderr.

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
            click.echo(text + (time_left(rest, engine_id) if running else ""), err=True)
            said.append(text)
        return None

    return _wait(
        look, f"interrupted; the server is still stopping the engine, see `spoon engines show {engine_id}`"
    )


def time_left(rest: Rest, engine_id: str | None = None) -> str:
    """How long the running jobs of an engine, or of all, will take, as far as they tell."""
    query = {"engine_id": engine_id, "status": "processing"}
    jobs = (read(item, Job) for item in list_items(rest, "/v1/jobs", query, _JOBS_LOOKED_AT))
    left_s = [one.progress.eta_s for one in jobs if one.progress and one.progress.eta_s is not None]
    return f", about {duration(max(left_s))}" if left_s else ""


def _reason(error: StoredError | None) -> str:
    return "no reason given" if error is None else f"{error.detail} ({error.code})"


def _wait(look: Callable[[], bytes | None], goes_on: str) -> bytes:
    try:
        while (found := look()) is None:
            time.sleep(_POLL_S)
    except KeyboardInterrupt as interrupt:
        click.echo(err=True)
        raise Detached(goes_on) from interrupt
    return found
