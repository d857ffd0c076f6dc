"""Pictures that come along and are too large for the memory: they are encoded in tiles, and it is told."""

from dataclasses import dataclass, replace

import pytest
import torch
from small_engine import Outcomes, order, spec
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bench.bell import Bell, run_out
from bench.pictures import half_mask, photograph, png
from engine_worker.engine.networks.components import Components, Encoder, Posterior
from engine_worker.engine.networks.vae import encode
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage
from engine_worker.engine.pipeline.resources import bare_resources
from kernel.protocol.enums import InputKind, ModelBase

# One base is enough: the VAEs of both are of the same kind.
pytestmark = [pytest.mark.torch, pytest.mark.parametrize("base", [ModelBase.SD], indirect=True)]

CPU = torch.device("cpu")
INPUTS = {InputKind.REFERENCE: png(photograph()), InputKind.MASK: png(half_mask())}


@dataclass(frozen=True)
class Averages:
    mean: Tensor

    @property
    def std(self) -> Tensor:
        return self.mean.abs()


class Averaging:
    """An encoder whose latents know nothing of their neighbours: tiles change nothing."""

    def encode(self, x: Tensor, *, return_dict: bool) -> tuple[Posterior]:
        return (Averages(avg_pool2d(x.mean(dim=1, keepdim=True), 8).expand(-1, 4, -1, -1)),)


@dataclass(frozen=True)
class SmallMemory:
    """Has room for pictures up to a size."""

    encoder: Encoder
    largest_px: int = 32

    def encode(self, x: Tensor, *, return_dict: bool) -> tuple[Posterior]:
        if max(x.shape[-2:]) > self.largest_px:
            raise torch.OutOfMemoryError("that is too much")
        return self.encoder.encode(x, return_dict=False)


def pixels(height_px: int, width_px: int) -> Tensor:
    return torch.rand(1, 3, height_px, width_px, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("size_px", "tile_px"), [((64, 64), 32), ((32, 72), 32), ((200, 88), 96), ((1160, 1400), 512)]
)
def test_every_tile_lies_where_it_belongs(size_px: tuple[int, int], tile_px: int, parts: Components) -> None:
    picture = pixels(*size_px)
    whole = encode(replace(parts.vae, encoder=Averaging()), picture, CPU)
    tiled = encode(replace(parts.vae, encoder=SmallMemory(Averaging(), tile_px)), picture, CPU)
    assert (whole.tile_px, tiled.tile_px) == (None, tile_px)
    torch.testing.assert_close(tiled.mean, whole.mean)
    torch.testing.assert_close(tiled.deviation, whole.deviation)


def test_a_real_vae_makes_latents_like_those_of_the_whole(parts: Components) -> None:
    picture = pixels(64, 64)
    with torch.inference_mode():
        whole = encode(parts.vae, picture, CPU)
        tiled = encode(replace(parts.vae, encoder=SmallMemory(parts.vae.encoder)), picture, CPU)
    assert tiled.tile_px == 32
    both = torch.stack([tiled.mean.flatten(), whole.mean.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.7


def test_if_even_tiles_are_too_large_it_is_an_error(parts: Components) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        encode(replace(parts.vae, encoder=SmallMemory(Averaging(), largest_px=16)), pixels(64, 64), CPU)


def test_what_is_no_lack_of_memory_is_not_tried_again(parts: Components) -> None:
    class Broken:
        def encode(self, x: Tensor, *, return_dict: bool) -> tuple[Posterior]:
            assert x.shape[-1] == 64, "it is tried once"
            raise RuntimeError("it fell over")

    with pytest.raises(RuntimeError, match="it fell over"):
        encode(replace(parts.vae, encoder=Broken()), pixels(64, 64), CPU)


def test_the_job_is_made_and_its_pictures_know_of_the_tiles(parts: Components) -> None:
    small = replace(parts, vae=replace(parts.vae, encoder=SmallMemory(parts.vae.encoder)))
    finished: list[DenoisedImage] = []
    bell = Bell()
    engine_core = EngineCore(bare_resources(small), finished.append, 1, Outcomes().emit, bell.ring)
    engine_core.admit(order("job", spec(steps=1, strength=1.0, guidance_scale=1.0)), INPUTS)
    run_out(engine_core, bell)
    engine_core.close()
    assert [one.encoded_tile_px for one in finished] == [32]
