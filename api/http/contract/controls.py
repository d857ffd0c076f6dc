"""Converts `type_pose` and the related fields of a job to its controls."""

from collections.abc import Iterator
from typing import Final

from api.http.contract.job_input import JobInput
from api.http.contract.model_refs import check_refs
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ControlType
from kernel.protocol.model_refs import ControlUse

_PLAIN: Final = ControlUse()


def check_controls(found: JobInput, *, has_pose: bool, faults: ValidationErrors) -> None:
    """Check that fields for a pose image come with one, and fit together."""
    if _says_nothing(found):
        return
    types = _types_in(found)
    if len(set(types)) < len(types):
        faults.wrong("type_pose", "must not repeat a type")
    check_refs("control_models", found.control_models, faults)
    if not has_pose:
        for field in _said(found):
            faults.wrong(field, "requires pose_image_blob")
    if found.preprocessed and _count(found) > 1:
        faults.wrong("preprocessed", "a single image cannot be a map of several types: set one type_pose")
    _check_lengths(found, faults)
    _check_order(found, faults)


def controls_of(found: JobInput) -> tuple[ControlUse, ...]:
    """The controls of a checked job: one for each type, else for each of its ControlNets, else one. Those
    without a type leave it to the ControlNets or to the engine."""
    if _says_nothing(found):
        return ()
    return tuple(
        ControlUse(
            control_type=control_type,
            scale=_at(found.control_scale, index, _PLAIN.scale),
            start=_at(found.control_start, index, _PLAIN.start),
            end=_at(found.control_end, index, _PLAIN.end),
            is_preprocessed=found.preprocessed,
        )
        for index, control_type in enumerate(_types_in(found) or (None,) * _count(found))
    )


def _types_in(found: JobInput) -> tuple[ControlType, ...]:
    """The types of `type_pose`, which may be one value or a list."""
    if found.type_pose is None:
        return ()
    return (found.type_pose,) if isinstance(found.type_pose, ControlType) else found.type_pose


def _count(found: JobInput) -> int:
    """The number of controls of a job that has some."""
    return len(_types_in(found)) or len(found.control_models or ()) or 1


def _says_nothing(found: JobInput) -> bool:
    """True for a job without a ControlNet, which most are: a quick check."""
    return (
        found.type_pose is None
        and not found.control_models
        and not found.preprocessed
        and found.control_scale is None
        and found.control_start is None
        and found.control_end is None
    )


def _said(found: JobInput) -> Iterator[str]:
    """The names of the control fields that were given."""
    if found.type_pose is not None:
        yield "type_pose"
    if found.control_models:
        yield "control_models"
    if found.preprocessed:
        yield "preprocessed"
    for field, value in _numbers(found):
        if value is not None:
            yield field


def _numbers(found: JobInput) -> Iterator[tuple[str, float | tuple[float, ...] | None]]:
    yield "control_scale", found.control_scale
    yield "control_start", found.control_start
    yield "control_end", found.control_end


def _check_lengths(found: JobInput, faults: ValidationErrors) -> None:
    """Check that lists have one number for each control; a single number is for all."""
    wanted, each = _count(found), "type_pose" if _types_in(found) else "of control_models"
    for field, value in _numbers(found):
        if isinstance(value, tuple) and len(value) != wanted:
            faults.wrong(
                field, f"must be one number or a list of {wanted}, one for each {each}, not {len(value)}"
            )


def _check_order(found: JobInput, faults: ValidationErrors) -> None:
    for index in range(_count(found)):
        start = _at(found.control_start, index, _PLAIN.start)
        end = _at(found.control_end, index, _PLAIN.end)
        if start >= end:
            field = "control_end" if found.control_start is None else "control_start"
            faults.wrong(field, f"control_start ({start:g}) must be less than control_end ({end:g})")


def _at(value: float | tuple[float, ...] | None, index: int, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, tuple):
        return value[index] if index < len(value) else default
    return value
