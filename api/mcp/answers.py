"""What a tool answers of a job and its images: words, previews, and links to the originals."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from api.cli.client.client_models import Image, Job
from api.cli.client.progress import reason_of
from api.cli.client.progress_bar import duration
from api.cli.client.rest import Rest, quoted, read
from api.cli.exit_codes import Refusal, ServerUnreachable
from api.mcp.previews import MAX_BYTES, MIME, preview_of
from api.mcp.waiting import JobWaiter

URI: Final = "spoon://images/"
_PREVIEWED: Final = 4
"""Images of one answer; jobs of other clients may have thousands."""
_NAMED: Final = 100


def words(*lines: str, is_error: bool = False) -> CallToolResult:
    """An answer of text alone."""
    return CallToolResult(content=[TextContent(text="\n".join(lines))], is_error=is_error)


def answer_of(rest: Rest, job: Job) -> CallToolResult:
    """What became of a job: its images, the reason why there are none, or how to go on."""
    match job.status:
        case "finished":
            return _finished(rest, job)
        case "failed":
            error = job.error
            reason = "no reason given" if error is None else f"{error.detail} [{error.code}]"
            return words(f"Job {job.job_id} failed: {reason}", is_error=True)
        case "cancelled":
            return words(f"Job {job.job_id} was cancelled.")
        case _:
            return words(
                f"Job {job.job_id} is not finished yet: {state_of(job)}",
                "It goes on by itself. Call job_status with this job_id to wait for its images. Do not ask "
                "for the image again: that would make a second one.",
            )


def state_of(job: Job) -> str:
    """How far an open job is, in words."""
    if job.status == "waiting":
        return reason_of(job)
    progress = job.progress
    if progress is None:
        return "processing"
    left = "" if progress.eta_s is None else f", about {duration(progress.eta_s)} left"
    return f"{progress.stage}, step {progress.step} of {progress.steps}{left}"


def shown(rest: Rest, images: Sequence[Image]) -> list[ContentBlock]:
    """Each image in words, as a preview, and as a link to the original."""
    blocks: list[ContentBlock] = []
    for image in images:
        blocks.append(TextContent(text=described(rest, image)))
        blocks += _seen(rest, image, MAX_BYTES // len(images))
    return blocks


def find_image(rest: Rest, image_id: str) -> Image:
    """Raises: Refusal, ServerUnreachable."""
    return read(JobWaiter(rest).patiently(lambda: rest.get(f"/v1/images/{quoted(image_id)}")), Image)


def original(rest: Rest, image_id: str) -> bytes:
    """The file of an image. Raises: Refusal, ServerUnreachable."""
    return JobWaiter(rest).patiently(lambda: rest.get(_download(image_id)))


def described(rest: Rest, image: Image) -> str:
    """One line: size, seed, ids, and where the original is."""
    if image.gone is not None:
        return f"Image {image.image_id} of job {image.job_id} is gone: {image.gone.reason}."
    return (
        f"Image {image.image_id}: {image.width}x{image.height}, seed {image.seed}, {image.mime}, "
        f"job {image.job_id}. Original: {rest.url}{_download(image.image_id)}"
    )


def _finished(rest: Rest, job: Job) -> CallToolResult:
    lines = [f"Job {job.job_id} is finished: {len(job.image_ids)} image(s)."]
    lines += [f"Warning: {warning}" for warning in job.warnings]
    if further := job.image_ids[_PREVIEWED:]:
        lines.append(f"Not shown here, see get_image: {', '.join(further[:_NAMED])}")
    try:
        images = [find_image(rest, image_id) for image_id in job.image_ids[:_PREVIEWED]]
    except (Refusal, ServerUnreachable) as error:
        return words(*lines, f"They cannot be shown now: {error}", "Call job_status with this job_id later.")
    return CallToolResult(content=[TextContent(text="\n".join(lines)), *shown(rest, images)])


def _seen(rest: Rest, image: Image, limit_bytes: int) -> list[ContentBlock]:
    """The preview and the link; only words, if the file is gone or its downloads are counted."""
    if image.gone is not None:
        return []
    if image.download_limit is not None:
        return [TextContent(text="No preview: the number of its downloads is limited.")]
    link = ResourceLink(
        uri=URI + image.image_id,
        name=image.image_id,
        description="The original, in full size",
        mime_type=image.mime,
        size=image.size_bytes,
    )
    try:
        preview = preview_of(original(rest, image.image_id), limit_bytes)
    except (Refusal, ServerUnreachable, OSError) as error:
        return [TextContent(text=f"No preview: {error}. Call get_image later."), link]
    return [ImageContent(data=b64encode(preview).decode(), mime_type=MIME), link]


def _download(image_id: str) -> str:
    return f"/v1/images/{quoted(image_id)}/download"
