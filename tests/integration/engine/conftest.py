"""Small checkpoints with random weights, written once for all tests of the real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.enums import ModelBase

if TYPE_CHECKING:
    from bench.stock import Stock
    from engine_worker.engine.networks.components import Components


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sd.safetensors, sdxl.safetensors and the same as diffusers folders, sd and sdxl."""
    place = tmp_path_factory.mktemp("checkpoints")
    for base in ModelBase:
        write_random_checkpoint(place / f"{base}.safetensors", base=base, seed=7)
        write_random_checkpoint(place / str(base), base=base, is_folder=True, seed=7)
    return place


@pytest.fixture(autouse=True)
def own_technique(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The technique of these tests is our own, also where the package sd_embed is installed."""
    from engine_worker.engine.prompts.weighted import Weighted

    if not request.path.name.startswith("test_sd_embed"):
        monkeypatch.setattr("engine_worker.engine.prompts.parsed_prompts.find_sd_embed", Weighted)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads share the work inside of a layer: a worker has one for each core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=list(ModelBase), ids=str)
def base(request: pytest.FixtureRequest) -> ModelBase:
    """Each base in turn."""
    found: ModelBase = request.param
    return found


class Library:
    """What was loaded of the small checkpoints: each once, in whatever order tests ask for bases."""

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints
        self._parts: dict[ModelBase, Components] = {}
        self._stocks: dict[ModelBase, Stock] = {}

    def parts(self, base: ModelBase) -> "Components":
        import torch
        from small_engine import source_of

        from engine_worker.engine.loading.load_checkpoint import load_components

        if base not in self._parts:
            source = source_of(self._checkpoints / f"{base}.safetensors")
            self._parts[base] = load_components(source, torch.device("cpu"), torch.float32)
        return self._parts[base]

    def stock(self, base: ModelBase) -> "Stock":
        from bench.stock import Stock

        if base not in self._stocks:
            self._stocks[base] = Stock(self._checkpoints / str(base), base)
        return self._stocks[base]

    def layers_with_hooks(self) -> list[str]:
        """The layers of all loaded parts that something was left on. transformers has hooks of its own, but
        not on these."""
        from torch import nn

        networks = [network for parts in self._parts.values() for network in parts.networks.values()]
        layers = [found for one in networks for found in one.named_modules()]
        kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
        return [name for name, layer in layers if isinstance(layer, kinds) and layer._forward_hooks]


@pytest.fixture(scope="session")
def library(checkpoints: Path) -> Library:
    return Library(checkpoints)


@pytest.fixture(autouse=True)
def _nothing_is_left_on_the_shared_parts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Other tests use the same networks: a LoRA that one leaves on would be in the pictures of the next."""
    yield
    if "library" in request.fixturenames:
        found: Library = request.getfixturevalue("library")
        assert found.layers_with_hooks() == []


@pytest.fixture(scope="session")
def parts(base: ModelBase, library: Library) -> "Components":
    """The single-file checkpoint, loaded in float32 on the CPU."""
    return library.parts(base)


@pytest.fixture(scope="session")
def stock(base: ModelBase, library: Library) -> "Stock":
    """The stock pipeline of diffusers, on the diffusers folder of the same weights."""
    return library.stock(base)
