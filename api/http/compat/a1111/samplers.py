"""Samplers and schedule types under A1111's names, which are ours in other words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from api.http.compat.a1111.answers import SamplerItem, ScheduleItem
from api.http.contract.enum_choices import find_choice, find_levels, fold, problem_with
from api.http.contract.errors import SamplerNotFound
from api.http.contract.json_text import cut
from kernel.protocol.enums import Scheduler
from kernel.protocol.schedulers import AUTOMATIC, KINDS, SAMPLERS, SCHEDULE_TYPES, SPACINGS

DEFAULT_SAMPLER: Final = "Euler"
AUTOMATIC_TYPE: Final = "automatic"
_FIXED: Final = frozenset({Scheduler.DDIM, Scheduler.PNDM})
"""A1111 has these follow no schedule type either."""
_KARRAS_RHO: Final = 7.0
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"sgm_uniform": ("SGMUniform",), "ddim": ("ddim_uniform",)}
)


def samplers() -> tuple[SamplerItem, ...]:
    """Each sampler once."""
    return tuple(
        SamplerItem(
            name=KINDS[word].label,
            aliases=(word, *KINDS[word].others),
            options={"scheduler": AUTOMATIC[word].lower()} if word in AUTOMATIC else {},
        )
        for word in SAMPLERS
    )


def schedule_types() -> tuple[ScheduleItem, ...]:
    """Every schedule type; a sampler may lack some of them."""
    spacings = {name: spacing.label for name, spacing in SPACINGS.items()}
    levels = {label.lower().replace(" ", "_"): label for label in SCHEDULE_TYPES.values()}
    found = {AUTOMATIC_TYPE: "Automatic", "uniform": "Uniform", **spacings, **levels}
    return tuple(
        ScheduleItem(
            name=name,
            label=label,
            aliases=_ALIASES.get(name),
            default_rho=_KARRAS_RHO if name == "karras" else -1.0,
            need_inner_model=name not in (AUTOMATIC_TYPE, "karras", "exponential"),
        )
        for name, label in found.items()
    )


def scheduler_in(sampler: str | None, schedule: str | None, warnings: list[str]) -> str:
    """A spelling of the scheduler that a sampler and a schedule type mean together.

    A sampler with a schedule type in its name, as of before A1111 1.9, keeps that. A schedule type that the
    sampler lacks has no effect, which is told.

    Raises: SamplerNotFound, with the nearest names.
    """
    name = sampler or DEFAULT_SAMPLER
    word: Scheduler | None = find_choice(Scheduler, name)
    if find_levels(name) is not None or (word is not None and KINDS[word].spacing is not None):
        return name
    if word is None:
        raise SamplerNotFound(f"Sampler not found: {problem_with(Scheduler, name)}")
    kind = _type_called(schedule)
    if kind == AUTOMATIC_TYPE:
        return f"{word} {AUTOMATIC.get(word, '')}".strip()
    both = f"{word} {kind}"
    if find_choice(Scheduler, both) is not None or find_levels(both) is not None:
        return both
    if word not in _FIXED:
        warnings.append(f"scheduler {cut(schedule or '')} is not available for {KINDS[word].label}")
    return word


def _type_called(schedule: str | None) -> str:
    """The name of a schedule type, by its name, label or alias.

    Raises: SamplerNotFound.
    """
    wanted = fold(schedule or AUTOMATIC_TYPE)
    known = schedule_types()
    for one in known:
        if wanted in map(fold, (one.name, one.label, *(one.aliases or ()))):
            return one.name
    labels = ", ".join(one.label for one in known)
    raise SamplerNotFound(f"Scheduler not found: {cut(schedule or '')!r} is none of {labels}")
