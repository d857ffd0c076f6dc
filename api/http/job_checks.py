"""Everything that can be wrong with a job, by its fields alone."""

from collections.abc import Collection

from api.http.controls import check_controls
from api.http.findings import Findings
from api.http.ingredients import check_loras, check_refs
from api.http.job_input import JobInput
from api.http.limits import (
    check_at_most,
    check_line,
    check_options,
    check_size,
    check_text,
)
from api.http.retention import check_expiry, check_patience
from api.http.words import check_word, find_word
from conf.settings import Server
from kernel.protocol.vocabulary import ImageFileType, ImageFit, InputKind, Scheduler


def check_job(found: JobInput, pictures: Collection[InputKind], limits: Server, findings: Findings) -> None:
    """Find all that is wrong with a job to be submitted, which brings these pictures."""
    _check_engine(found, findings)
    check_text("prompt", found.prompt, findings)
    check_text("negative_prompt", found.negative_prompt, findings)
    check_at_most("count", found.count, limits.max_count, findings)
    check_at_most("steps", found.steps, limits.max_steps, findings)
    check_size(found.width, found.height, limits.max_pixels, findings)
    check_word(Scheduler, "scheduler", found.scheduler, findings)
    check_word(ImageFileType, "image_file_type", found.image_file_type, findings)
    check_options("scheduler_config", found.scheduler_config, findings)
    check_loras(found.loras, findings)
    check_refs("embeddings", found.embeddings, findings)
    check_line("vae", found.vae, findings)
    check_expiry("expire_after", found.expire_after, findings)
    check_patience("give_up_after", found.give_up_after, findings)
    _check_pictures(found, pictures, findings)
    check_controls(found, has_pose=InputKind.POSE in pictures, findings=findings)
    _check_background(found, findings)


def _check_engine(found: JobInput, findings: Findings) -> None:
    check_line("engine_id", found.engine_id, findings)
    check_line("engine", found.engine, findings)
    if found.engine_id is None and found.engine is None:
        findings.wrong("engine_id", "is required, or `engine` with the engine's name")
    elif found.engine_id is not None and found.engine is not None:
        findings.wrong("engine", "contradicts engine_id: set one of them")


def _check_pictures(found: JobInput, pictures: Collection[InputKind], findings: Findings) -> None:
    check_word(ImageFit, "image_fit", found.image_fit, findings)
    if found.image_fit is not None and not pictures:
        findings.wrong("image_fit", "requires an input image to fit")
    if InputKind.REFERENCE in pictures:
        return
    if InputKind.MASK in pictures:
        findings.wrong("mask_image_blob", "requires reference_image_blob")
    if found.strength is not None:
        findings.wrong("strength", "requires reference_image_blob")


def _check_background(found: JobInput, findings: Findings) -> None:
    check_refs("remove_background_models", found.remove_background_models, findings)
    check_line("background_color", found.background_color, findings)
    if found.background_color is None:
        return
    file_type = find_word(ImageFileType, found.image_file_type)
    if not found.remove_background_models:
        findings.wrong("background_color", "requires remove_background_models")
    elif file_type is not None and file_type is not ImageFileType.JPEG:
        findings.wrong(
            "background_color", f"applies to jpeg only: {file_type} keeps the background transparent"
        )
