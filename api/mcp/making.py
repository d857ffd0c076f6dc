"""The tools that make images: one call from a prompt to an image, or only as far as its job."""

from collections.abc import Callable, Mapping
from typing import Final

import anyio.from_thread
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult

from api.cli.client.client_models import Job
from api.cli.client.rest import Rest, quoted, read
from api.cli.exit_codes import Refusal
from api.mcp import arguments as args
from api.mcp.answers import answer_of, state_of, words
from api.mcp.arguments import check_id
from api.mcp.backend import Backend
from api.mcp.input_files import input_image
from api.mcp.refusals import tool
from api.mcp.waiting import JobWaiter

_WORDS: Final[Mapping[str, str]] = {
    "reference_image_blob": "image",
    "reference_image_id": "image",
    "mask_image_blob": "mask",
    "mask_image_id": "mask",
}
"""Fields of the REST API that have another name here."""
_TINY: Final = 1e-6
"""Progress has to grow with every notification, also while nothing is done yet."""


class Making:
    """Makes images and says what became of jobs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @tool
    def generate_image(
        self,
        context: Context,
        prompt: args.Prompt,
        negative_prompt: args.Negative = None,
        engine: args.EngineName = None,
        checkpoint: args.Checkpoint = None,
        width: args.SidePx = None,
        height: args.SidePx = None,
        steps: args.Steps = None,
        cfg: args.Cfg = None,
        scheduler: args.SchedulerName = None,
        seed: args.Seed = None,
        count: args.Count = 1,
        loras: args.Loras = None,
        wait_seconds: args.WaitS = args.DEFAULT_WAIT_S,
        validate_only: args.ValidateOnly = False,
    ) -> CallToolResult:
        """Make an image from a prompt. Waits for it and shows it. If it takes longer than wait_seconds, the
        answer has the job_id: go on with job_status, never by asking for the image again."""
        body = {
            "prompt": prompt, "negative_prompt": negative_prompt, "engine": engine, "checkpoint": checkpoint,
            "width": width, "height": height, "steps": steps, "cfg": cfg, "scheduler": scheduler,
            "seed": seed, "count": count, "loras": _loras(loras),
        }  # fmt: skip
        with self._backend.rest(context) as rest:
            return self._made(context, rest, body, wait_seconds, validate_only=validate_only)

    @tool
    def edit_image(
        self,
        context: Context,
        image: str,
        prompt: args.Prompt,
        mask: str | None = None,
        strength: args.Strength = None,
        negative_prompt: args.Negative = None,
        engine: args.EngineName = None,
        checkpoint: args.Checkpoint = None,
        steps: args.Steps = None,
        seed: args.Seed = None,
        count: args.Count = 1,
        wait_seconds: args.WaitS = args.DEFAULT_WAIT_S,
        validate_only: args.ValidateOnly = False,
    ) -> CallToolResult:
        """Change an image by a prompt: all of it, or what the mask shows in white. `image` and `mask` are
        ids of images of this server, or local files if the server was started with --files. Waits like
        generate_image."""
        folders = self._backend.folders
        with self._backend.rest(context) as rest:
            body = {
                "prompt": prompt, "negative_prompt": negative_prompt, "engine": engine, "seed": seed,
                "checkpoint": checkpoint, "strength": strength, "steps": steps, "count": count,
                **input_image("reference", "image", image, folders),
                **({} if mask is None else input_image("mask", "mask", mask, folders)),
            }  # fmt: skip
            try:
                return self._made(context, rest, body, wait_seconds, validate_only=validate_only)
            except Refusal as refusal:
                raise refusal.reworded(_in_our_words) from refusal

    @tool
    def job_status(
        self, context: Context, job_id: args.JobId, wait_seconds: args.WaitS = args.DEFAULT_WAIT_S
    ) -> CallToolResult:
        """Wait for a job and show its images, or say how far it is. Call it again until it has ended."""
        with self._backend.rest(context) as rest:
            waiter, path = JobWaiter(rest), f"/v1/jobs/{quoted(check_id('job_id', job_id))}"
            job = waiter.patiently(lambda: read(rest.get(path), Job))
            return answer_of(rest, waiter.ended(job, wait_seconds, _teller(context)))

    def _made(
        self, context: Context, rest: Rest, body: Mapping[str, object], wait_s: float, *, validate_only: bool
    ) -> CallToolResult:
        said = {name: value for name, value in body.items() if value is not None}
        if validate_only:
            rest.post("/v1/jobs", said, {"validate_only": "true"})
            return words("These arguments are valid. Nothing was made.")
        waiter = JobWaiter(rest)
        job = waiter.submit(said, self._backend.idempotency_key(context))
        return answer_of(rest, waiter.ended(job, wait_s, _teller(context)))


def _loras(said: Mapping[str, float] | None) -> list[dict[str, object]] | None:
    return None if said is None else [{"model_id": name, "weight": weight} for name, weight in said.items()]


def _in_our_words(text: str) -> str:
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def _teller(context: Context) -> Callable[[Job], None]:
    """Tells the host how far a job is, and ends the waiting if the host no longer wants the answer."""
    told = [0.0]

    def tell(job: Job) -> None:
        anyio.from_thread.check_cancelled()
        progress = job.progress
        share = progress.step / progress.steps if progress is not None and progress.steps else 0.0
        told[0] = max(told[0] + _TINY, share)
        anyio.from_thread.run(context.report_progress, told[0], 1.0, state_of(job))

    return tell
