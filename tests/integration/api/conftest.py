import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api.fake_manager import make_keys


@pytest.fixture
def bus_folder() -> Iterator[Path]:
    """A short path, as sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="spoon-"))
    make_keys(folder)
    yield folder
    shutil.rmtree(folder)
