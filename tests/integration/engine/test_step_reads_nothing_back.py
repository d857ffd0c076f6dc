"""A step asks nothing back from the device, and waits for nothing that it sends there.

The device is torch's `meta`: it has shapes and no values, so whoever looks at a value of a tensor there
fails. On a GPU each such look would wait until all work is done that was asked for before.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from PIL import Image
from small_engine import order, spec
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.ours import prepare_now, resources
from bench.pictures import half_mask, photograph, png, random_control_net
from engine_worker.engine.networks.components import Components, ControlNet
from engine_worker.engine.sampling.sampler import advance, model_input, predict
from engine_worker.engine.sampling.trajectory import Trajectory
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.port import NO_INPUTS
from kernel.protocol.enums import ControlType, InputKind, Scheduler
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control
from kernel.protocol.schedulers import SAMPLERS
from kernel.protocol.specs import JobSpec

pytestmark = pytest.mark.torch

META = torch.device("meta")
NET = ModelId("net")
NO_NETS: Mapping[ModelId, ControlNet] = {}
CONTROL = Control(
    control_type=ControlType.CANNY, control_model=NET, scale=0.8, start=0.0, end=0.7, is_preprocessed=True
)
INPUTS = {
    InputKind.REFERENCE: png(photograph()),
    InputKind.MASK: png(half_mask()),
    InputKind.POSE: png(half_mask().transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
}


class Waits(TorchDispatchMode):
    """Remembers what makes the host wait for a GPU: plain copies, and equations that are solved there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        named = kwargs or {}
        is_onto_the_device = args and isinstance(args[0], Tensor) and args[0].device.type == "cpu"
        if func is torch.ops.aten._to_copy.default and is_onto_the_device:
            target = named.get("device")
            if target is not None and target.type == "meta" and not named.get("non_blocking"):
                self.found.append(f"{func} {tuple(args[0].shape)}")
        if "linalg" in str(func) and any(isinstance(one, Tensor) and one.is_meta for one in args):
            self.found.append(str(func))
        return func(*args, **named)


@pytest.fixture(scope="module")
def nets(parts: Components) -> dict[ModelId, ControlNet]:
    """The ControlNet that a job can name."""
    return {NET: random_control_net(parts, seed=1)}


@pytest.fixture(scope="module")
def far(parts: Components) -> Components:
    """The same checkpoint on the other device; prompts and pictures are encoded where they have values."""
    with torch.device("meta"):
        unet = type(parts.networks[Network.UNET]).from_config(dict(parts.unet_config))
    return replace(parts, device=META, denoiser=unet.eval())


def started(
    parts: Components,
    far: Components,
    wanted: JobSpec,
    inputs: Mapping[InputKind, bytes] = NO_INPUTS,
    nets: Mapping[ModelId, ControlNet] = NO_NETS,
) -> Trajectory:
    """The job's first picture before its first step, with all of it on the far device."""
    work = resources(parts, nets)
    prepared = prepare_now(work, order("job", wanted), inputs)
    (told,) = prepared.conditionings
    pooled = None if told.pooled is None else told.pooled.to(META)
    sizes = None if told.sizes is None else told.sizes.to(META)
    controls = tuple(
        replace(one, net=deepcopy(one.net).to(META), image=one.image.to(META)) for one in prepared.controls
    )
    conditioning = replace(told, embeds=told.embeds.to(META), pooled=pooled, sizes=sizes)
    return replace(prepared, conditionings=(conditioning,), controls=controls).start(far, 0)


@contextmanager
def no_waits() -> Iterator[None]:
    # Not in inference mode: there copies are not told apart before they reach the device.
    with torch.no_grad(), Waits() as waits:
        yield
    assert waits.found == []


def run(far: Components, trajectories: list[Trajectory]) -> None:
    while not trajectories[0].is_done:
        predicted = predict(far.denoiser, trajectories, far.dtype)
        moves = zip(trajectories, predicted, strict=True)
        trajectories = [advance(one, noise) for one, noise in moves]
    assert all(one.latents.device == META for one in trajectories)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_no_scheduler_waits_for_the_device(parts: Components, far: Components, scheduler: Scheduler) -> None:
    trajectory = started(parts, far, spec(scheduler=scheduler, steps=4))
    noise = torch.empty(trajectory.latents.shape, device=META)
    with no_waits():
        while not trajectory.is_done:
            assert model_input(trajectory).device == META
            trajectory = advance(trajectory, noise)
    assert trajectory.latents.device == META


@pytest.mark.sampled(1)
def test_pictures_with_prompts_of_different_length_share_a_call_without_a_wait(
    parts: Components, far: Components
) -> None:
    embeds = started(parts, far, spec(scheduler=Scheduler.UNIPC)).conditioning.embeds
    one, other = (started(parts, far, spec(seed=seed, scheduler=Scheduler.EULER_A)) for seed in (1, 2))
    longer = replace(other.conditioning, embeds=torch.cat([embeds, embeds], dim=1))
    with no_waits():
        run(far, [one, replace(other, conditionings=(longer,))])


@pytest.mark.sampled(1)
def test_painting_a_part_anew_waits_for_nothing(parts: Components, far: Components) -> None:
    kinds = (InputKind.REFERENCE, InputKind.MASK)
    trajectory = started(parts, far, spec(scheduler=Scheduler.DDIM), {kind: INPUTS[kind] for kind in kinds})
    assert trajectory.inpaint_mask is not None
    with no_waits():
        run(far, [trajectory])


@pytest.mark.sampled(1)
def test_control_nets_wait_for_nothing(
    parts: Components, far: Components, nets: dict[ModelId, ControlNet]
) -> None:
    wanted = spec(steps=3, controls=(CONTROL,))
    trajectory = started(parts, far, wanted, {InputKind.POSE: INPUTS[InputKind.POSE]}, nets)
    assert trajectory.controls
    with no_waits():
        run(far, [trajectory])
