"""Checks that the detectors that a job needs are installed where it would run."""

from collections.abc import Mapping

from kernel.core.state.world import Engine
from kernel.protocol.enums import ControlType
from kernel.protocol.errors import NotInstalled, of_field
from kernel.protocol.specs import JobSpec


def check(engine: Engine, spec: JobSpec, absent: Mapping[ControlType, str]) -> None:
    """`absent` are the detectors that workers of this host cannot load, with what to do about it.

    Raises: NotInstalled, which names the field of the first control that could not be drawn.
    """
    if not _is_made_here(engine):
        return
    for number, use in enumerate(spec.controls):
        remedy = None if use.is_preprocessed else absent.get(use.control_type)
        if remedy is not None:
            field = f"controls[{number}].control_type"
            problem = (
                f"the {use.control_type} detector is not installed: {remedy}, or send the control map itself"
            )
            raise of_field(NotInstalled, field, problem)


def _is_made_here(engine: Engine) -> bool:
    """False if a worker of another host may make the job: what lies in its folders nobody knows here."""
    has_guests = any(not worker.is_local for worker in engine.workers.values())
    return not has_guests and (engine.row.spec.autostart or bool(engine.workers))
