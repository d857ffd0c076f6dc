"""What `model` may name: an engine or a checkpoint; and the size of the images that it makes."""

from collections.abc import Sequence
from math import sqrt
from typing import Final

from kernel.protocol.errors import (
    InvalidField,
    ModelMissing,
    ModelNotFound,
    SpoonError,
    of_field,
)
from kernel.protocol.masks import Size
from kernel.protocol.values import MAX_SIDE_PX, PIXELS_PER_LATENT
from kernel.views.rows import JobTarget

LISTED: Final = 10
MIN_SIDE_PX: Final = 64
_ENGINE: Final = frozenset({"engine", "engine_id", "checkpoint"})


def public_names(targets: Sequence[JobTarget]) -> list[tuple[str, JobTarget]]:
    """The named engines and the checkpoints, each with what means it alone: its name, or else its id."""
    found: dict[str, JobTarget] = {}
    for target in targets:
        if target.name is not None and target.name not in found:
            found[target.name] = target
        elif not target.is_engine and not found[target.name or ""].is_engine:
            found[target.id] = target
    return list(found.items())


def find_target(targets: Sequence[JobTarget], model: str) -> JobTarget | None:
    """The engine, else the checkpoint, with this id or name; None, if there is none."""
    named = [target for target in targets if model in (target.id, target.name)]
    return named[0] if named else None


def refused(error: SpoonError, model: str | None, targets: Sequence[JobTarget]) -> SpoonError:
    """The Manager's refusal of a choice, in terms of `model`."""
    fields = {one.field for one in error.fields}
    if not fields or not fields <= _ENGINE:
        return error
    if isinstance(error, ModelMissing):
        if model is None:
            return of_field(ModelMissing, "model", error.fields[0].problem)
        known = f": use one of {_listed(targets)}" if targets else ": none is there yet"
        return of_field(ModelNotFound, "model", f"no engine or checkpoint is called {model!r}{known}")
    problem = error.fields[0].problem
    if model is None and fields == {"checkpoint"} and isinstance(error, InvalidField):
        problem = f"is required, or the setting engines.default: one of {_listed(targets)}"
    return of_field(type(error), "model", problem)


def _listed(targets: Sequence[JobTarget]) -> str:
    names = [name for name, _ in public_names(targets)]
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def usual_size(targets: Sequence[JobTarget], target: JobTarget | None) -> Size | None:
    """The size of the images of a target; without one that of all, if it is the same; None, if unknown."""
    sizes = {(one.width_px, one.height_px) for one in (targets if target is None else (target,))}
    width, height = sizes.pop() if len(sizes) == 1 else (None, None)
    return None if width is None or height is None else (width, height)


def size_like(image: Size, usual: Size, max_pixels: int) -> Size:
    """A size with the aspect ratio of an image and about as many pixels as usual."""
    pixels = min(usual[0] * usual[1], max_pixels)
    scale = sqrt(pixels / (image[0] * image[1]))
    width, height = (_side(side * scale) for side in image)
    while width * height > max_pixels and max(width, height) > MIN_SIDE_PX:
        width, height = (width - 8, height) if width >= height else (width, height - 8)
    return width, height


def _side(pixels: float) -> int:
    rounded = round(pixels / PIXELS_PER_LATENT) * PIXELS_PER_LATENT
    return min(max(rounded, MIN_SIDE_PX), MAX_SIDE_PX)
