"""Following a job on the terminal until it has ended."""

import sys
from pathlib import Path

import click

from api.cli.client.client_models import DownloadProgress, Job, Progress
from api.cli.client.downloads import save_preview
from api.cli.client.events import Follower, Preview
from api.cli.client.progress_bar import ProgressBar, duration, show_loading
from api.cli.client.rest import Rest, read
from api.cli.client.wait import room
from api.cli.exit_codes import AwaitedFailed, Detached
from api.cli.output import printable


class Onlooker:
    """Shows a job's events: a progress bar, the latest preview in a file, both, or nothing."""

    def __init__(self, rest: Rest, bar: ProgressBar | None, preview_to: Path | None) -> None:
        self._rest = rest
        self._bar = bar
        self._preview_to = preview_to

    def waiting(self, job: Job) -> None:
        if self._bar is not None:
            self._bar.say(room(self._rest) if job.waits_for == "room" else reason_of(job))

    def loading(self, progress: DownloadProgress) -> None:
        if self._bar is not None:
            show_loading(self._bar, progress)

    def progress(self, progress: Progress) -> None:
        if self._bar is not None:
            self._bar.show_steps(progress)

    def preview(self, preview: Preview) -> None:
        if self._preview_to is not None:
            save_preview(self._preview_to, preview)


def follow(rest: Rest, job_id: str, is_watched: bool, preview_to: Path | None = None) -> bytes:
    """The ended job, as the server returns it. Its warnings go to stderr, as does what it waits for and its
    progress, on a terminal or with `is_watched`; `preview_to` is the file for the latest preview.

    Raises: AwaitedFailed, if it failed or was cancelled; Detached, on Ctrl-C.
    """
    bar = ProgressBar(sys.stderr)
    try:
        body = Follower(
            rest, job_id, Onlooker(rest, bar if is_watched or sys.stderr.isatty() else None, preview_to)
        ).follow()
    except KeyboardInterrupt as interrupt:
        raise Detached(
            f"detached; the job continues, watch it again with `spoon jobs watch {job_id}`"
        ) from interrupt
    finally:
        bar.close()
    job = read(body, Job)
    for warning in job.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    if job.status != "finished":
        raise AwaitedFailed(f"job {job_id} {_end_of(job)}")
    return body


def reason_of(job: Job) -> str:
    """The reason why a job waits, in words."""
    if job.waits_for == "turn":
        ahead = (job.queue_position or 1) - 1
        place = f"{ahead} {'job' if ahead == 1 else 'jobs'} ahead" if ahead else "next in the queue"
        return f"waiting: {place}{'' if job.queue_eta_s is None else f', about {duration(job.queue_eta_s)}'}"
    if job.error is not None and job.waits_for in ("retry", "repair"):
        return f"waiting: the engine has failed: {job.error.detail}"
    if job.waits_for == "start":
        return f"waiting: the engine is closed; start it with `spoon engines start {job.engine_id}`"
    if job.waits_for == "paused":
        return f"waiting: paused; `spoon queue resume {job.engine_id}` or `spoon queue resume`"
    return "waiting for the engine to start"


def _end_of(job: Job) -> str:
    if job.status == "cancelled":
        return "was cancelled"
    return f"failed: {job.error.detail} ({job.error.code})" if job.error else "failed"
