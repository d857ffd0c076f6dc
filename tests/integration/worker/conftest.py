"""A small Manager for each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.worker.small_manager import SmallManager, small_manager


@pytest.fixture
def manager() -> Iterator[SmallManager]:
    """In a folder of its own with a short name: an ipc path has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as folder, small_manager(Path(folder)) as found:
        yield found
