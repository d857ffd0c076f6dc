"""`type_pose` and what belongs to it: from the fields of a job to the ControlNets at work."""

from collections.abc import Iterator
from typing import Final

from api.http.contract.enum_choices import check_choice, find_choice
from api.http.contract.job_input import JobInput
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ControlType
from kernel.protocol.model_refs import ControlUse

_PLAIN: Final = ControlUse(control_type=ControlType.OPENPOSE)


def check_controls(found: JobInput, *, has_pose: bool, faults: ValidationErrors) -> None:
    """Find fault with what belongs to a pose image and comes without one, or does not fit together."""
    if _says_nothing(found):
        return
    types = types_in(found)
    for index, word in enumerate(types):
        field = "type_pose" if isinstance(found.type_pose, str) else f"type_pose[{index}]"
        check_choice(ControlType, field, word, faults)
    meant = [find_choice(ControlType, word) for word in types]
    if len(set(meant)) < len(meant):
        faults.wrong("type_pose", "must not repeat a type")
    if not has_pose:
        for field in _said(found):
            faults.wrong(field, "requires pose_image_blob")
    if found.preprocessed and len(types) > 1:
        faults.wrong("preprocessed", "a single image cannot be a map of several types: set one type_pose")
    _check_lengths(found, len(types), faults)
    _check_order(found, faults)


def types_in(found: JobInput) -> tuple[str, ...]:
    """The words of `type_pose`, which may be one or a list."""
    if found.type_pose is None:
        return ()
    return (found.type_pose,) if isinstance(found.type_pose, str) else found.type_pose


def needs_type(found: JobInput) -> bool:
    """Whether something is said about a ControlNet without saying of which type it is."""
    return found.type_pose is None and not _says_nothing(found)


def controls_of(found: JobInput, default: ControlType | None = None) -> tuple[ControlUse, ...]:
    """The ControlNets of a checked job. `default`: the type, where the job leaves it to its engine."""
    if _says_nothing(found):
        return ()
    types = [found_type for word in types_in(found) if (found_type := find_choice(ControlType, word))]
    if not types and default is not None and needs_type(found):
        types = [default]
    return tuple(
        ControlUse(
            control_type=control_type,
            scale=_at(found.control_scale, index, _PLAIN.scale),
            start=_at(found.control_start, index, _PLAIN.start),
            end=_at(found.control_end, index, _PLAIN.end),
            is_preprocessed=found.preprocessed,
        )
        for index, control_type in enumerate(types)
    )


def _says_nothing(found: JobInput) -> bool:
    """Most jobs have no ControlNet: for them this is all that is looked at."""
    return (
        found.type_pose is None
        and not found.preprocessed
        and found.control_scale is None
        and found.control_start is None
        and found.control_end is None
    )


def _said(found: JobInput) -> Iterator[str]:
    """The fields about control that were given."""
    if found.type_pose is not None:
        yield "type_pose"
    if found.preprocessed:
        yield "preprocessed"
    for field, value in _numbers(found):
        if value is not None:
            yield field


def _numbers(found: JobInput) -> Iterator[tuple[str, float | tuple[float, ...] | None]]:
    yield "control_scale", found.control_scale
    yield "control_start", found.control_start
    yield "control_end", found.control_end


def _check_lengths(found: JobInput, types: int, faults: ValidationErrors) -> None:
    """One number is for all types; a list has one for each. Without `type_pose` there is one type."""
    wanted = max(types, 1)
    for field, value in _numbers(found):
        if isinstance(value, tuple) and len(value) != wanted:
            faults.wrong(
                field, f"must be one number or a list of {wanted}, one for each type_pose, not {len(value)}"
            )


def _check_order(found: JobInput, faults: ValidationErrors) -> None:
    for index in range(max(len(types_in(found)), 1)):
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
