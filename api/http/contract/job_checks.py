"""Checks a job by its fields alone."""

from collections.abc import Collection
from typing import Final

from api.http.contract.constraints import (
    check_at_most,
    check_line,
    check_options,
    check_size,
    check_text,
)
from api.http.contract.controls import check_controls
from api.http.contract.job_input import BLOB_FIELDS, IMAGE_FIELDS, JobInput, field_of, images_in
from api.http.contract.model_refs import check_loras, check_refs
from api.http.contract.retention import check_expiry, check_patience
from api.http.contract.validation_errors import ValidationErrors
from api.http.contract.webhook_types import check_callback_url
from conf.settings import Server
from kernel.protocol.enums import ImageFileType, InpaintArea, InputKind
from kernel.protocol.masks import MASK_VALUES, has_mask

_NEEDS_MASK: Final = (
    "requires mask_image_blob, or mask_mode alpha and a reference_image_blob with transparent parts"
)


def check_job(
    found: JobInput, images: Collection[InputKind], limits: Server, faults: ValidationErrors
) -> None:
    """Check a job to be submitted with these input images."""
    _check_engine(found, faults)
    check_text("prompt", found.prompt, faults)
    check_text("negative_prompt", found.negative_prompt, faults)
    check_at_most("count", found.count, limits.max_count, faults)
    check_at_most("steps", found.steps, limits.max_steps, faults)
    check_size(found.width_px, found.height_px, limits.max_pixels, faults)
    check_options("scheduler_config", found.scheduler_config, faults)
    check_loras(found.loras, faults)
    check_refs("embeddings", found.embeddings, faults)
    check_line("vae", found.vae, faults)
    check_expiry("expire_after", found.expire_after, faults)
    check_patience("give_up_after", found.give_up_after, faults)
    _check_callback(found, faults)
    _check_images(found, images, faults)
    check_controls(found, has_pose=InputKind.POSE in images, faults=faults)
    _check_background(found, faults)


def _check_engine(found: JobInput, faults: ValidationErrors) -> None:
    check_line("engine_id", found.engine_id, faults)
    check_line("engine", found.engine, faults)
    check_line("checkpoint", found.checkpoint, faults)
    if found.engine_id is not None and found.engine is not None:
        faults.wrong("engine", "contradicts engine_id: set one of them")


def _check_callback(found: JobInput, faults: ValidationErrors) -> None:
    check_callback_url("callback_url", found.callback_url, faults)
    if found.callback_events is not None and found.callback_url is None:
        faults.wrong("callback_events", "requires callback_url")


def _check_images(found: JobInput, images: Collection[InputKind], faults: ValidationErrors) -> None:
    for kind in images_in(found):
        if getattr(found, IMAGE_FIELDS[kind]) is not None:
            faults.wrong(IMAGE_FIELDS[kind], f"contradicts {BLOB_FIELDS[kind]}: set one of them")
    for field in IMAGE_FIELDS.values():
        check_line(field, getattr(found, field), faults)
    if found.image_fit is not None and not images:
        faults.wrong("image_fit", "requires an input image to fit")
    _check_mask(found, images, faults)
    if InputKind.REFERENCE in images:
        return
    if InputKind.MASK in images:
        faults.wrong(field_of(found, InputKind.MASK), "requires reference_image_blob or reference_image_id")
    if found.strength is not None:
        faults.wrong("strength", "requires reference_image_blob")


def _check_mask(found: JobInput, images: Collection[InputKind], faults: ValidationErrors) -> None:
    if not has_mask(images, found.mask_mode):
        for name in (name for name in MASK_VALUES if getattr(found, name) is not None):
            faults.wrong(name, _NEEDS_MASK)
    if found.inpaint_area is InpaintArea.MASKED:
        if found.image_fit is not None:
            faults.wrong("image_fit", "has no effect with inpaint_area masked: the reference keeps its size")
    elif found.inpaint_padding is not None:
        faults.wrong("inpaint_padding", "requires inpaint_area masked")


def _check_background(found: JobInput, faults: ValidationErrors) -> None:
    check_refs("remove_background_models", found.remove_background_models, faults)
    check_line("background_color", found.background_color, faults)
    if found.background_color is None:
        return
    if not found.remove_background_models:
        faults.wrong("background_color", "requires remove_background_models")
    elif found.image_file_type is not ImageFileType.JPEG:
        faults.wrong(
            "background_color",
            f"applies to jpeg only: {found.image_file_type} keeps the background transparent",
        )
