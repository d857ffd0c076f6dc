from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fetch.bench import Bench
from tests.integration.fetch.site import Site, serve


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


@pytest.fixture
def bench(site: Site, tmp_path: Path) -> Bench:
    return Bench(site, tmp_path)
