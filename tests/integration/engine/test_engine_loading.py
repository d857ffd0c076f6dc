"""Loading: what a checkpoint is, is read from its files; what is wrong with it is said in words."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from loaded import CPU, load, networks
from safetensors.torch import load_file, save_file
from small_engine import load_order, source_of
from torch import Tensor

from bench.bell import Bell
from engine_worker.embedded.random_checkpoint import small_architecture
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.loading.load_checkpoint import load_components, read_layout
from engine_worker.engine.loading.networks import build_empty
from engine_worker.engine.loading.weights import parameter_reader
from engine_worker.engine.networks.components import Components
from engine_worker.formats.ldm_shapes import read_architecture
from engine_worker.formats.safetensors_header import read_header
from engine_worker.formats.single_file import describe_file
from engine_worker.formats.tensor_places import find_places
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import DeviceUnavailable, EngineFailed, ModelUnreadable, SpoonError
from kernel.protocol.specs import EngineLoad
from kernel.protocol.worker import EngineProgress

pytestmark = pytest.mark.torch

Tensors = dict[str, Tensor]


def changed(checkpoints: Path, place: Path, change: Callable[[Tensors], None]) -> Path:
    """A copy of the small SD file with its tensors changed."""
    tensors = load_file(checkpoints / "sd.safetensors")
    change(tensors)
    path = place / "changed.safetensors"
    save_file(tensors, path)
    return path


def test_the_single_file_and_the_folder_give_bit_equal_networks(
    base: ModelBase, parts: Components, checkpoints: Path
) -> None:
    folder = load(checkpoints / str(base))
    assert len(networks(parts)) == len(networks(folder)) == (3 if base is ModelBase.SD else 4)
    for one, other in zip(networks(parts), networks(folder), strict=True):
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_nothing_is_left_on_the_meta_device_and_nothing_learns(parts: Components) -> None:
    for network in networks(parts):
        held = [*network.parameters(), *network.buffers()]
        assert all(tensor.device == CPU for tensor in held)
        assert not any(tensor.requires_grad for tensor in held)
        assert not network.training


def test_the_single_file_has_the_keys_that_diffusers_own_converters_expect(
    base: ModelBase, parts: Components, checkpoints: Path
) -> None:
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
        convert_open_clip_checkpoint,
    )

    stored = load_file(checkpoints / f"{base}.safetensors")
    unet, vae, _, *second = networks(parts)
    converted = [
        (unet, convert_ldm_unet_checkpoint(stored, unet.config)),
        (vae, convert_ldm_vae_checkpoint(stored, vae.config)),
    ]
    if second:
        prefix = "conditioner.embedders.1.model."
        converted.append((second[0], convert_open_clip_checkpoint(second[0], stored, prefix=prefix)))
    for network, theirs in converted:
        ours = network.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name].float()) for name in ours)


def test_the_architecture_is_read_from_the_shapes(base: ModelBase, checkpoints: Path) -> None:
    path = checkpoints / f"{base}.safetensors"
    assert read_architecture(read_header(path), describe_file(path)) == small_architecture(base)


def test_weights_do_not_depend_on_the_file_once_they_are_loaded(checkpoints: Path, tmp_path: Path) -> None:
    path = tmp_path / "sd.safetensors"
    shutil.copy(checkpoints / "sd.safetensors", path)
    loaded = load(path, torch.float16)
    before = [parameter.clone() for parameter in networks(loaded)[0].parameters()]
    path.write_bytes(bytes(path.stat().st_size))
    assert all(map(torch.equal, before, networks(loaded)[0].parameters()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_precision_loads_and_the_vae_never_computes_in_float16(
    dtype: torch.dtype, checkpoints: Path
) -> None:
    unet, vae, encoder = networks(load(checkpoints / "sd.safetensors", dtype))
    assert {parameter.dtype for parameter in (*unet.parameters(), *encoder.parameters())} == {dtype}
    assert {parameter.dtype for parameter in vae.parameters()} == {
        torch.float32 if dtype is torch.float16 else dtype
    }


def test_loading_says_what_is_ready(checkpoints: Path) -> None:
    engine = build(lambda outcome: None, Bell().ring)
    loaded = engine.load(load_order(checkpoints / "sd.safetensors", max_batch=3))
    engine.close()
    assert (loaded.device, loaded.capacity) == ("cpu", 3)
    stored = sum(tensor.numel() for tensor in load_file(checkpoints / "sd.safetensors").values())
    assert loaded.memory_bytes == 4 * stored


def test_loading_tells_how_far_it_is(checkpoints: Path) -> None:
    told: list[EngineProgress] = []
    engine = build(lambda outcome: told.append(outcome), Bell().ring)  # type: ignore[arg-type]
    engine.load(load_order(checkpoints / "sd.safetensors"))
    engine.close()
    stored = sum(tensor.nbytes for tensor in load_file(checkpoints / "sd.safetensors").values())
    done = [one.bytes for one in told]
    assert done == sorted(set(done))
    assert {one.total_bytes for one in told} == {stored}
    assert 0.9 * stored <= done[-1] <= stored
    assert 3 <= len(told) <= 100


def mark(tensors: Tensors, *marks: str) -> None:
    tensors |= {name: torch.zeros(0) for name in marks}


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        ("sd_xl_turbo_1.0", "trailing"),
        ("sdxl_lightning_4step", "trailing"),
        ("Hyper-SDXL", "trailing"),
        ("dreamXL_turboDPMSDE", "trailing"),
        ("SomeXLTurbo2", "trailing"),
        ("HyperRealism", "leading"),
        ("turbocharged", "leading"),
    ],
)
def test_names_tell_that_a_checkpoint_is_for_few_steps(
    name: str, spacing: str, checkpoints: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.safetensors"
    shutil.copy(checkpoints / "sd.safetensors", path)
    assert load(path).scheduler_config["timestep_spacing"] == spacing
    source = msgspec.structs.replace(source_of(checkpoints / "sd.safetensors"), name=name)
    layout = read_layout(checkpoints / "sd.safetensors", source=source)
    assert layout.scheduler_config["timestep_spacing"] == spacing
    titled = tmp_path / "any.safetensors"
    save_file(load_file(path), titled, {"modelspec.title": name})
    assert read_layout(titled).scheduler_config["timestep_spacing"] == spacing


def test_marks_of_v_prediction_and_of_noise_to_the_end_are_understood(
    checkpoints: Path, tmp_path: Path
) -> None:
    path = changed(checkpoints, tmp_path, lambda tensors: mark(tensors, "v_pred", "ztsnr"))
    config = load(path).scheduler_config
    assert config["prediction_type"] == "v_prediction"
    assert (config["rescale_betas_zero_snr"], config["timestep_spacing"]) == (True, "trailing")


def test_v_prediction_is_understood_from_the_configuration_beside_the_file(
    checkpoints: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(checkpoints / "sd.safetensors", tmp_path / "sd.safetensors"))
    path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert load(path).scheduler_config["prediction_type"] == "v_prediction"


def make_it_inpaint(tensors: Tensors) -> None:
    key = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[key] = torch.cat([tensors[key], torch.ones(32, 5, 3, 3, dtype=torch.float16)], dim=1)


def test_a_unet_that_inpaints_takes_a_mask_and_a_masked_picture_beside_latents(
    checkpoints: Path, tmp_path: Path
) -> None:
    parts = load(changed(checkpoints, tmp_path, make_it_inpaint))
    assert (parts.unet_shape.in_channels, parts.vae.latent_channels) == (9, 4)
    with torch.inference_mode():
        (noise,) = parts.denoiser(
            torch.randn(1, 9, 8, 8),
            torch.tensor([10]),
            encoder_hidden_states=torch.randn(1, 77, 96),
            added_cond_kwargs=None,
            return_dict=False,
        )
    assert noise.shape == (1, 4, 8, 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_files_of_every_precision_load(dtype: torch.dtype, checkpoints: Path, tmp_path: Path) -> None:
    def store(tensors: Tensors) -> None:
        tensors |= {key: tensor.to(dtype) for key, tensor in tensors.items()}

    path = changed(checkpoints, tmp_path, store)
    stored = load_file(path)["model.diffusion_model.time_embed.0.weight"]
    unet = networks(load(path))[0]
    assert torch.equal(unet.get_parameter("time_embedding.linear_1.weight"), stored.float())


def test_the_shape_that_a_configuration_tells_is_that_which_it_was_made_of(
    base: ModelBase, parts: Components, checkpoints: Path
) -> None:
    assert parts.unet_shape == load(checkpoints / str(base)).unet_shape == small_architecture(base).unet


def drop_a_vae_tensor(tensors: Tensors) -> None:
    del tensors["first_stage_model.decoder.conv_in.weight"]


def drop_the_text_encoder(tensors: Tensors) -> None:
    for key in [key for key in tensors if key.startswith("cond_stage_model.")]:
        del tensors[key]


def add_a_tensor(tensors: Tensors) -> None:
    tensors["model.diffusion_model.middle_block.9.weight"] = torch.zeros(1)


def add_a_leftover(tensors: Tensors) -> None:
    tensors["model_ema.decay"] = torch.zeros(1)


def reshape_a_tensor(tensors: Tensors) -> None:
    key = "model.diffusion_model.time_embed.0.weight"
    tensors[key] = tensors[key][:, :-1].contiguous()


def widen_the_input(tensors: Tensors) -> None:
    key = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[key] = torch.zeros(32, 8, 3, 3, dtype=torch.float16)


def add_scales(tensors: Tensors) -> None:
    tensors["model.diffusion_model.time_embed.0.scale_weight"] = torch.ones(1)


def make_it_sd2(tensors: Tensors) -> None:
    drop_the_text_encoder(tensors)
    tensors["cond_stage_model.model.ln_final.weight"] = torch.zeros(1)


def make_it_a_lora(tensors: Tensors) -> None:
    tensors.clear()
    for part, shape in (("lora_up", (96, 4)), ("lora_down", (4, 96))):
        tensors[f"lora_unet_mid_block_attentions_0_proj_in.{part}.weight"] = torch.zeros(shape)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop_a_vae_tensor, "VAE lacks the tensor first_stage_model.decoder.conv_in.weight"),
        (drop_the_text_encoder, "without text encoders"),
        (add_a_tensor, "are unknown: the tensor model.diffusion_model.middle_block.9.weight"),
        (reshape_a_tensor, "which does not fit"),
        (widen_the_input, "has 8 input channels"),
        (add_scales, "quantized"),
        (make_it_sd2, "Stable Diffusion 2"),
        (make_it_a_lora, "an engine requires a checkpoint"),
    ],
)
def test_a_file_that_is_no_whole_checkpoint_is_refused_in_words(
    change: Callable[[Tensors], None], says: str, checkpoints: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnreadable, match=says):
        load(changed(checkpoints, tmp_path, change))


def test_what_training_left_in_the_file_is_passed_over(checkpoints: Path, tmp_path: Path) -> None:
    load(changed(checkpoints, tmp_path, add_a_leftover))


def test_a_truncated_file_is_refused_before_anything_is_loaded(checkpoints: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes((checkpoints / "sd.safetensors").read_bytes()[:-1000])
    with pytest.raises(ModelUnreadable, match="truncated"):
        load(path)


def store_whole_numbers(tensors: Tensors) -> None:
    key = "model.diffusion_model.time_embed.0.weight"
    tensors[key] = tensors[key].to(torch.int8)


def test_a_quantised_checkpoint_is_refused_in_words(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="quantized"):
        load(changed(checkpoints, tmp_path, store_whole_numbers))


def store_in_eight_bits(tensors: Tensors) -> None:
    key = "model.diffusion_model.time_embed.0.weight"
    tensors[key] = tensors[key].to(torch.float8_e4m3fn)


def test_tensors_in_eight_bit_floats_load(checkpoints: Path, tmp_path: Path) -> None:
    unet = networks(load(changed(checkpoints, tmp_path, store_in_eight_bits)))[0]
    assert unet.get_parameter("time_embedding.linear_1.weight").abs().max() > 0


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_like_any_other(
    checkpoints: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sd.safetensors"
    shutil.copy(checkpoints / "sd.safetensors", path)
    plan = read_layout(path).unet
    os.truncate(path, path.stat().st_size // 2)
    shapes = {name: tuple(held.shape) for name, held in build_empty(plan).named_parameters()}
    with (
        parameter_reader(plan.files, lambda count: None) as reader,
        pytest.raises(ModelUnreadable, match="truncated"),
    ):
        reader.begin(find_places(shapes, plan), CPU, torch.float32)()


def test_a_checkpoint_of_another_base_than_declared_is_refused(checkpoints: Path) -> None:
    with pytest.raises(ModelUnreadable, match="is sd, not sdxl"):
        load_components(source_of(checkpoints / "sd.safetensors", ModelBase.SDXL), CPU, torch.float32)


@pytest.mark.parametrize(
    ("device", "error"),
    [("cuda:99", DeviceUnavailable), ("mps:9", DeviceUnavailable), ("abacus", EngineFailed)],
)
def test_a_device_that_is_not_there_is_an_error_that_says_so(
    device: str, error: type[SpoonError], checkpoints: Path
) -> None:
    order = load_order(checkpoints / "sd.safetensors")
    with pytest.raises(error, match="device"):
        build(lambda outcome: None, Bell().ring).load(
            EngineLoad(engine_id=order.engine_id, checkpoint=order.checkpoint, device=device)
        )


def test_a_sidecar_that_has_changed_since_the_registration_is_noticed(
    checkpoints: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(checkpoints / "sd.safetensors", tmp_path / "model.safetensors"))
    plain = msgspec.structs.replace(source_of(path), beside=describe_file(path).beside)
    read_layout(path, source=plain)
    path.with_suffix(".yaml").write_text("parameterization: v")
    with pytest.raises(ModelUnreadable, match=r"the file \.yaml beside model, .* retry the model"):
        read_layout(path, source=plain)
    again = msgspec.structs.replace(plain, beside=describe_file(path).beside)
    assert read_layout(path, source=again).scheduler_config["prediction_type"] == "v_prediction"
    assert read_layout(path, source=source_of(path)).base is ModelBase.SD, "not known, so not compared"
