"""The memory of surprises that a test's Manager has, with ids that count."""

import logging
from itertools import count

from kernel.shell.surprises import Surprises


def no_surprises() -> Surprises:
    """Nothing has surprised anybody yet."""
    numbers = count(1)
    return Surprises(logging.getLogger("manager"), lambda: f"error-{next(numbers)}")
