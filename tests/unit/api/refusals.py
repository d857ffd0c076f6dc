"""What the core says that it refuses each ask with: the `Raises:` of its own docstrings."""

import re
from inspect import get_annotations, getmembers, isfunction
from types import FunctionType
from typing import get_args

from kernel.core.commands import (
    engine_commands,
    engine_edits,
    job_commands,
    key_commands,
    model_commands,
    preset_commands,
    queue_commands,
    webhook_commands,
    worker_commands,
)
from kernel.core.images import downloads
from kernel.protocol import errors
from kernel.protocol.client import ApiAsk
from kernel.protocol.errors import SpoonError

Refusals = dict[type[ApiAsk], tuple[type[SpoonError], ...]]

MODULES = (
    engine_commands,
    engine_edits,
    job_commands,
    model_commands,
    queue_commands,
    downloads,
    key_commands,
    webhook_commands,
    preset_commands,
    worker_commands,
)
ANY = (errors.TooManyRequests, errors.ShuttingDown, errors.ManagerUnreachable, errors.BadMessage)
"""What any ask may be refused with: by the Manager, or for want of it."""


def refusals() -> Refusals:
    """By the ask, for every ask that the core has a function for."""
    found: Refusals = {}
    for module in MODULES:
        for name, function in getmembers(module, isfunction):
            ask = get_annotations(function).get("ask")
            if ask in get_args(ApiAsk) and not name.startswith("_"):
                found[ask] = _raised(function)
    return found


def _raised(function: FunctionType) -> tuple[type[SpoonError], ...]:
    words = re.findall(r"[A-Z]\w+", (function.__doc__ or "").partition("Raises:")[2])
    named = [getattr(errors, word, None) for word in words]
    return tuple(one for one in named if isinstance(one, type) and issubclass(one, SpoonError))
