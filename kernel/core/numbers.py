"""Numbers that the database can hold, and give back as they were: what else a client sends is refused."""

from math import isfinite

from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.specs import EngineSpec, JobSpec


def check_priority(priority: int) -> None:
    """Raises: InvalidField."""
    if abs(priority) > MAX_INTEGER:
        raise wrong_field("priority", f"a priority lies in -{MAX_INTEGER} .. {MAX_INTEGER}")


def check_seeds(spec: JobSpec) -> None:
    """Of the first picture and of the last. Raises: InvalidField."""
    if not 0 <= spec.seed <= MAX_INTEGER - (spec.count - 1):
        raise wrong_field("seed", f"seeds of {spec.count} pictures lie in 0 .. {MAX_INTEGER}")


def check_finite(spec: EngineSpec | JobSpec) -> None:
    """JSON knows neither infinity nor NaN, and specs are stored as JSON. Raises: InvalidField."""
    if not isfinite(spec.guidance_scale):
        raise wrong_field("guidance_scale", "this is no finite number")
    for name, value in spec.scheduler_config.items():
        if isinstance(value, float) and not isfinite(value):
            raise wrong_field(f"scheduler_config.{name}", "this is no finite number")
