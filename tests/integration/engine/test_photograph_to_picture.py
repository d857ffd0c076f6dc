"""From a real photograph through detectors and ControlNets to pictures without background, in one engine."""

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from diffusers import ControlNetModel
from msgspec.structs import replace
from onnx_files import remover_source, write_keeper
from PIL import Image
from small_engine import Outcomes, load_order, model_source, order, spec

from bench.bell import Bell, run_until
from bench.pictures import png, random_control_net
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.networks.components import Components
from engine_worker.port import Completed, Failed, ImageEncoded, Mapped
from kernel.protocol.enums import ControlType, InputKind, ModelBase, ModelType, Stage
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control, ModelSource
from kernel.protocol.specs import JobOrder

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("mediapipe") is None, reason="the extra faces is not here"),
]

TYPES = (ControlType.MEDIAPIPE, ControlType.CANNY)
BLUE = 2


@pytest.fixture(scope="module")
def nets(parts: Components, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSource, ...]:
    """A ControlNet for each type of map."""
    found: list[ModelSource] = []
    for seed, control_type in enumerate(TYPES):
        folder = tmp_path_factory.mktemp("nets") / control_type
        net = random_control_net(parts, seed)
        assert isinstance(net, ControlNetModel)
        net.save_pretrained(folder)
        source = model_source(folder, ModelType.CONTROLNET)
        found.append(replace(source, model_id=ModelId(control_type), control_type=control_type))
    return tuple(found)


def controlled(nets: tuple[ModelSource, ...], *further: ModelSource, count: int = 1) -> JobOrder:
    of = replace(
        spec(steps=2, count=count),
        inputs=(InputKind.POSE,),
        controls=tuple(
            Control(control_type=control_type, control_model=net.model_id)
            for control_type, net in zip(TYPES, nets, strict=True)
        ),
        remove_background=tuple(source.model_id for source in further),
    )
    return replace(order("job", of), models=(*nets, *further))


def made(checkpoints: Path, base: ModelBase, job: JobOrder, pose: Image.Image) -> Outcomes:
    outcomes, bell = Outcomes(), Bell()
    engine = build(bell.at(outcomes.emit), bell.ring)
    engine.load(load_order(checkpoints / f"{base}.safetensors"))
    engine.admit(job, {InputKind.POSE: png(pose)})
    run_until(lambda: outcomes.ending("job") is not None, engine.step, bell)
    engine.close()
    return outcomes


def test_a_photograph_leads_and_the_background_goes(
    checkpoints: Path, base: ModelBase, nets: tuple[ModelSource, ...], tmp_path: Path
) -> None:
    import skimage.data

    remover = remover_source(write_keeper(tmp_path / "blues.onnx", BLUE))
    job = controlled(nets, remover, count=2)
    outcomes = made(checkpoints, base, job, Image.fromarray(skimage.data.astronaut()))

    assert isinstance(outcomes.ending("job"), Completed)
    maps = {
        one.control_type: Image.open(BytesIO(one.data)) for one in outcomes.all if isinstance(one, Mapped)
    }
    assert {control_type: image.size for control_type, image in maps.items()} == dict.fromkeys(
        TYPES, (64, 64)
    )
    columns = np.array(maps[ControlType.MEDIAPIPE]).max(axis=(0, 2)) > 25
    assert columns[22:34].all(), "the face of the photograph is between 178 and 271 of 512"
    assert not columns[:20].any()
    assert not columns[36:].any()

    assert outcomes.stages("job")[:4] == [
        Stage.PREPARING,  # to be read, and then to be drawn
        Stage.PREPARING,
        Stage.FINISHING,
        Stage.REMOVING_BACKGROUND,
    ]
    images = [Image.open(BytesIO(one.data)) for one in outcomes.all if isinstance(one, ImageEncoded)]
    assert [image.mode for image in images] == ["RGBA", "RGBA"]
    recipe = str(images[0].info["parameters"])
    assert 'ControlNet 0: "Module: mediapipe' in recipe
    assert 'ControlNet 1: "Module: canny' in recipe
    assert "Background removed: blues" in recipe


def test_a_pose_image_that_shows_nothing_fails_the_job_before_its_first_step(
    checkpoints: Path, base: ModelBase, nets: tuple[ModelSource, ...]
) -> None:
    outcomes = made(checkpoints, base, controlled(nets), Image.new("RGB", (512, 512), (120, 120, 120)))
    failed = outcomes.ending("job")
    assert isinstance(failed, Failed)
    assert (failed.code, outcomes.names("job")) == ("job_rejected", ["Failed"])
    assert "the mediapipe detector found nothing in the pose image" in failed.text
