"""The memory of surprises that a test's Manager has, with ids that count."""

import logging
from itertools import count

from kernel.shell.unexpected_errors import UnexpectedErrors


def nothing_unexpected() -> UnexpectedErrors:
    """Nothing has surprised anybody yet."""
    numbers = count(1)
    return UnexpectedErrors(logging.getLogger("manager"), lambda: f"error-{next(numbers)}")
