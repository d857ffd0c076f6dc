"""Small checkpoints with random weights, written once for all tests of the real engine."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.vocabulary import ModelBase

if TYPE_CHECKING:
    from bench.stock import Stock
    from engine_worker.engine.parts import Parts


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sd.safetensors, sdxl.safetensors and the same as diffusers folders, sd and sdxl."""
    place = tmp_path_factory.mktemp("checkpoints")
    for base in ModelBase:
        write_random_checkpoint(place / f"{base}.safetensors", base=base, seed=7)
        write_random_checkpoint(place / str(base), base=base, is_folder=True, seed=7)
    return place


@pytest.fixture(scope="session", params=list(ModelBase), ids=str)
def base(request: pytest.FixtureRequest) -> ModelBase:
    """Each base in turn."""
    found: ModelBase = request.param
    return found


@pytest.fixture(scope="session")
def parts(base: ModelBase, checkpoints: Path) -> "Parts":
    """The single-file checkpoint, loaded in float32 on the CPU."""
    import torch
    from small_engine import source_of

    from engine_worker.engine.loading import load_parts

    return load_parts(source_of(checkpoints / f"{base}.safetensors"), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def stock(base: ModelBase, checkpoints: Path) -> "Stock":
    """The stock pipeline of diffusers, on the diffusers folder of the same weights."""
    from bench.stock import Stock

    return Stock(checkpoints / str(base), base)
