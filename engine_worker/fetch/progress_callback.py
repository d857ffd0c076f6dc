"""How the progress of one model is told."""

from collections.abc import Callable

ProgressCallback = Callable[[int, int | None, int | None], None]
"""Takes the bytes that are there, all that there will be, and bytes per second; None: it is not known."""
