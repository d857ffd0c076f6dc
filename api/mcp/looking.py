"""The tools that look: engines, models, the queue, and images that were made before."""

from typing import Final

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp_types import CallToolResult, TextContent

from api.cli.client.client_models import Engine, Image, Job, Model, Page, Queue, list_items
from api.cli.client.rest import Query, Rest, quoted, read
from api.cli.exit_codes import Refusal
from api.cli.output import beginning
from api.mcp import arguments as args
from api.mcp.answers import described, find_image, original, shown, state_of, words
from api.mcp.arguments import check_id
from api.mcp.backend import Backend
from api.mcp.refusals import text_of, tool
from kernel.protocol.errors import SpoonError

_OPEN_SHOWN: Final = 10


class Looking:
    """Shows what the server has; the only thing that it changes is a job that is to be cancelled."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @tool
    def list_engines(
        self, context: Context, limit: args.Limit = 20, after: args.After = None
    ) -> CallToolResult:
        """List the engines: a checkpoint with defaults, with a queue. Their names go into `engine`."""
        with self._backend.rest(context) as rest:
            page = _page(rest, "/v1/engines", {"limit": limit, "after": after})
            return words(*(_engine(read(item, Engine)) for item in page.items), _end(page, "engine"))

    @tool
    def list_models(
        self,
        context: Context,
        model_type: args.ModelKind = None,
        limit: args.Limit = 20,
        after: args.After = None,
    ) -> CallToolResult:
        """List models: checkpoints, LoRAs with their trigger words, and others."""
        with self._backend.rest(context) as rest:
            page = _page(rest, "/v1/models", {"model_type": model_type, "limit": limit, "after": after})
            return words(*(_model(read(item, Model)) for item in page.items), _end(page, "model"))

    @tool
    def find_images(
        self,
        context: Context,
        prompt: str | None = None,
        engine: args.EngineName = None,
        checkpoint: args.Checkpoint = None,
        lora: str | None = None,
        seed: args.Seed = None,
        limit: args.Limit = 10,
        after: args.After = None,
    ) -> CallToolResult:
        """Search the images that were made before, newest first: `prompt` has words of theirs.
        Look at one with get_image."""
        query: dict[str, str | int | None] = {
            "prompt": prompt, "engine": engine, "checkpoint": checkpoint, "lora": lora, "seed": seed,
            "limit": limit, "after": after, "gone": "false",
        }  # fmt: skip
        with self._backend.rest(context) as rest:
            page = _page(rest, "/v1/images", query)
            return words(*(_found(rest, read(item, Image)) for item in page.items), _end(page, "image"))

    @tool
    def get_image(self, context: Context, image_id: args.ImageId) -> CallToolResult:
        """Look at an image: a preview of bounded size, its prompt and seed, and a link to the original."""
        with self._backend.rest(context) as rest:
            image = find_image(rest, check_id("image_id", image_id))
            prompt = TextContent(text=f"Prompt: {image.prompt}")
            return CallToolResult(content=[*shown(rest, [image]), prompt])

    @tool
    def queue_status(self, context: Context) -> CallToolResult:
        """How many jobs wait and run, and how far those are that come first."""
        with self._backend.rest(context) as rest:
            queue = read(rest.get("/v1/queue"), Queue)
            lines = [f"{queue.processing} processing, {queue.waiting} waiting{', paused' * queue.paused}"]
            for status in ("processing", "waiting"):
                query: Query = {"status": status, "order": "oldest"}
                jobs = (read(item, Job) for item in list_items(rest, "/v1/jobs", query, _OPEN_SHOWN))
                lines += [f"- job {job.job_id}: {_stage(job)}: {beginning(job.prompt)}" for job in jobs]
            return words(*lines)

    @tool
    def cancel_job(self, context: Context, job_id: args.JobId) -> CallToolResult:
        """Cancel a job that waits or runs. Images that it has finished stay; ended jobs do not change."""
        with self._backend.rest(context) as rest:
            path = f"/v1/jobs/{quoted(check_id('job_id', job_id))}"
            job = read(rest.get(path), Job)
            if not job.is_ended:
                job = _cancelled(rest, path)
            return words(f"Job {job.job_id} is {job.status}.")

    def read_image(self, image_id: str, context: Context) -> bytes:
        """The original of an image, in full size."""
        try:
            with self._backend.rest(context) as rest:
                return original(rest, check_id("image_id", image_id))
        except SpoonError as error:
            is_missing = isinstance(error, Refusal) and error.problem.status in (404, 410)
            raise (ResourceNotFoundError if is_missing else ResourceError)(text_of(error)) from error


def _cancelled(rest: Rest, path: str) -> Job:
    """The job after its cancellation, or as it ended just before."""
    try:
        return read(rest.post(f"{path}/cancel"), Job)
    except Refusal as refusal:
        if refusal.problem.status != 409:
            raise
        return read(rest.get(path), Job)


def _page(rest: Rest, path: str, query: Query) -> Page:
    return read(rest.get(path, query), Page)


def _end(page: Page, thing: str) -> str:
    if page.next is not None:
        return f"There are more: call again with after={page.next}"
    return f"That is every {thing}." if page.items else f"There is no {thing} like that."


def _engine(engine: Engine) -> str:
    name = engine.name or engine.engine_id
    checkpoint = engine.names.get(engine.checkpoint or "", engine.checkpoint)
    size = f", {engine.width}x{engine.height}" if engine.width and engine.height else ""
    waiting = "" if engine.queue is None else f", {engine.queue.waiting} jobs waiting"
    error = "" if engine.error is None else f", error: {engine.error.detail}"
    return f"- {name}: {engine.status}, checkpoint {checkpoint}, {engine.steps} steps{size}{waiting}{error}"


def _model(model: Model) -> str:
    base = "" if model.model_base is None else f" for {model.model_base}"
    words_ = f", trigger words: {', '.join(model.trigger_words)}" if model.trigger_words else ""
    status = "" if model.status == "ready" else f", {model.status}"
    return f"- {model.name}: {model.model_type}{base}{status}{words_}"


def _found(rest: Rest, image: Image) -> str:
    return f"- {described(rest, image)} Prompt: {beginning(image.prompt)}"


def _stage(job: Job) -> str:
    return "waiting" if job.status == "waiting" else state_of(job)
