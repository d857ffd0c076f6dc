"""What ships is there, of a size that a repository bears, and loads in stock diffusers without a network."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from loaded import load, networks
from safetensors import safe_open

from engine_worker.embedded.__main__ import main
from engine_worker.embedded.shipped import SHIPPED, Shipped, bases_of, shipped
from kernel.protocol.enums import ModelBase
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from tests.unit.worker.inspecting import inspect
from training.ship import size_of

pytestmark = pytest.mark.torch

MOST_BYTES_OF_A_CHECKPOINT = 25_000_000
PIPELINES = {
    ModelBase.SD: diffusers.StableDiffusionPipeline,
    ModelBase.SDXL: diffusers.StableDiffusionXLPipeline,
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.name)
def test_every_model_is_there_in_half_precision_and_small(model: Shipped) -> None:
    assert 0 < size_of(model.path) < MOST_BYTES_OF_A_CHECKPOINT
    for file in [model.path, *model.path.glob("*")]:
        if file.suffix == ".safetensors" and "embedding" not in file.name:
            with safe_open(file, "pt") as tensors:
                assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} <= {"F16", "I64"}  # noqa: SIM118


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.name)
def test_the_base_of_every_model_is_found_in_its_file(model: Shipped) -> None:
    source = ModelSource(
        model_id=ModelId("m"), name="m", uri=model.path.as_uri(), model_type=model.model_type
    )
    assert inspect(source, [model.path.parent], lambda *_: None).model_base is model.base


def test_the_list_names_every_model_and_a_name_gives_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == [model.name for model in SHIPPED]
    main(["scenes-sd"])
    assert capsys.readouterr().out.strip() == str(shipped("scenes-sd").path)
    with pytest.raises(SystemExit):
        main(["remover", "--folder", "anywhere"])
    assert "--folder is for checkpoints; remover is a background" in capsys.readouterr().err


@pytest.mark.sampled(1)
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("base", bases_of("scenes"))
def test_stock_diffusers_loads_the_file_and_the_folder_made_of_it(base: ModelBase, tmp_path: Path) -> None:
    model = shipped(f"scenes-{base}")
    folder = tmp_path / "folder"
    main([model.name, "--folder", str(folder)])
    of_folder = PIPELINES[base].from_pretrained(folder, local_files_only=True)
    of_file = PIPELINES[base].from_single_file(str(model.path), config=str(folder), local_files_only=True)
    drawn = [_picture(pipeline.to("cpu", torch.float32)) for pipeline in (of_folder, of_file)]
    assert np.array_equal(*drawn)
    ours, theirs = networks(load(model.path)), networks(load(folder))
    for one, other in zip(ours, theirs, strict=True):
        held = other.state_dict()
        assert all(torch.equal(tensor, held[name]) for name, tensor in one.state_dict().items())


def _picture(pipeline: diffusers.DiffusionPipeline) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator("cpu").manual_seed(1)
    size = {"height": 64, "width": 64}
    return pipeline(
        "a red circle", num_inference_steps=1, generator=seed, output_type="np", **size
    ).images[0]  # fmt: skip
