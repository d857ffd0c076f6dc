"""Tests that need a CUDA device; without one they are skipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.enums import ModelBase

if TYPE_CHECKING:
    from engine_worker.engine.networks.components import Components

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are marked, and skipped where they cannot run."""
    import torch

    reason = "needs a CUDA device, and torch finds none"
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.skipif(not torch.cuda.is_available(), reason=reason))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sd.safetensors and sdxl.safetensors, small and with random weights."""
    place = tmp_path_factory.mktemp("checkpoints")
    for base in ModelBase:
        write_random_checkpoint(place / f"{base}.safetensors", base=base, seed=7)
    return place


@pytest.fixture(scope="session", params=list(ModelBase), ids=str)
def base(request: pytest.FixtureRequest) -> ModelBase:
    """Each base in turn."""
    found: ModelBase = request.param
    return found


@pytest.fixture(scope="module")
def exact(base: ModelBase, checkpoints: Path) -> "Iterator[Components]":
    """The checkpoint on the GPU in single precision."""
    import torch

    from tests.gpu.gpu_jobs import parts_on

    yield parts_on(checkpoints / f"{base}.safetensors", "cuda:0", torch.float32)
    torch.cuda.empty_cache()
