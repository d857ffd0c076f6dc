"""Loading: what a checkpoint is, is read from its files; what is wrong with it is said in words."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_engine import load_order, source_of
from torch import Tensor, nn

from engine_worker.embedded.random_checkpoint import small_architecture
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.ldm_shapes import read_architecture
from engine_worker.engine.loading import load_parts
from engine_worker.engine.parts import Parts, SdText, SdxlText
from engine_worker.fetch.one_file import describe_file
from engine_worker.header import read_header
from kernel.protocol.errors import EngineFailed, ModelUnreadable
from kernel.protocol.specs import EngineLoad
from kernel.protocol.vocabulary import ModelBase, Variant

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
Tensors = dict[str, Tensor]


def networks(parts: Parts) -> list[nn.Module]:
    encoders: list[object]
    match parts.text:
        case SdText(_, encoder):
            encoders = [encoder]
        case SdxlText(_, encoder, _, encoder_2):
            encoders = [encoder, encoder_2]
    found = [parts.denoiser, parts.vae.decoder, *encoders]
    return [network for network in found if isinstance(network, nn.Module)]


def load(path: Path, dtype: torch.dtype = torch.float32) -> Parts:
    return load_parts(source_of(path), CPU, dtype)


def changed(checkpoints: Path, place: Path, change: Callable[[Tensors], None]) -> Path:
    """A copy of the small SD file with its tensors changed."""
    tensors = load_file(checkpoints / "sd.safetensors")
    change(tensors)
    path = place / "changed.safetensors"
    save_file(tensors, path)
    return path


def test_the_single_file_and_the_folder_give_bit_equal_networks(
    base: ModelBase, parts: Parts, checkpoints: Path
) -> None:
    folder = load(checkpoints / str(base))
    assert len(networks(parts)) == len(networks(folder)) == (3 if base is ModelBase.SD else 4)
    for one, other in zip(networks(parts), networks(folder), strict=True):
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_nothing_is_left_on_the_meta_device_and_nothing_learns(parts: Parts) -> None:
    for network in networks(parts):
        held = [*network.parameters(), *network.buffers()]
        assert all(tensor.device == CPU for tensor in held)
        assert not any(tensor.requires_grad for tensor in held)
        assert not network.training


def test_the_single_file_has_the_keys_that_diffusers_own_converters_expect(
    base: ModelBase, parts: Parts, checkpoints: Path
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
    engine = build(lambda outcome: None)
    loaded = engine.load(load_order(checkpoints / "sd.safetensors", max_batch=3))
    engine.close()
    assert (loaded.device, loaded.capacity) == ("cpu", 3)
    stored = sum(tensor.numel() for tensor in load_file(checkpoints / "sd.safetensors").values())
    assert loaded.memory_bytes == 4 * stored


def test_a_v_prediction_mark_is_understood(checkpoints: Path, tmp_path: Path) -> None:
    path = changed(checkpoints, tmp_path, lambda tensors: tensors.update(v_pred=torch.zeros(0)))
    assert load(path).scheduler_config["prediction_type"] == "v_prediction"


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
    tensors["time_embed"] = torch.zeros(1)
    key = "model.diffusion_model.time_embed.0.weight"
    del tensors["time_embed"]
    tensors[key] = tensors[key][:, :-1].contiguous()


def widen_the_input(tensors: Tensors) -> None:
    key = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[key] = torch.zeros(32, 9, 3, 3, dtype=torch.float16)


def make_it_sd2(tensors: Tensors) -> None:
    drop_the_text_encoder(tensors)
    tensors["cond_stage_model.model.ln_final.weight"] = torch.zeros(1)


def make_it_a_lora(tensors: Tensors) -> None:
    tensors.clear()
    tensors["lora_unet_mid_block.lora_up.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop_a_vae_tensor, "VAE lacks the tensor first_stage_model.decoder.conv_in.weight"),
        (drop_the_text_encoder, "lacks text encoders"),
        (add_a_tensor, "no use for the tensor model.diffusion_model.middle_block.9.weight"),
        (reshape_a_tensor, "should be"),
        (widen_the_input, "inpainting"),
        (make_it_sd2, "Stable Diffusion 2"),
        (make_it_a_lora, "an engine is made of a checkpoint"),
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
    with pytest.raises(ModelUnreadable, match="cut short"):
        load(path)


def test_a_checkpoint_of_another_base_than_declared_is_refused(checkpoints: Path) -> None:
    with pytest.raises(ModelUnreadable, match="is sd, not sdxl"):
        load_parts(source_of(checkpoints / "sd.safetensors", ModelBase.SDXL), CPU, torch.float32)


def broken_folder(checkpoints: Path, place: Path) -> Path:
    return Path(shutil.copytree(checkpoints / "sd", place / "sd"))


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("model_index.json", "lacks the file model_index.json"),
        ("unet/config.json", "lacks the file unet/config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "lacks the file unet/diffusion_pytorch_model"),
        ("scheduler/scheduler_config.json", "lacks the file scheduler/scheduler_config.json"),
        ("tokenizer/tokenizer.json", "no CLIP tokenizer"),
    ],
)
def test_a_folder_with_something_missing_is_refused_in_words(
    gone: str, says: str, checkpoints: Path, tmp_path: Path
) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    (folder / gone).unlink()
    with pytest.raises(ModelUnreadable, match=says):
        load(folder)


def test_a_folder_of_pickles_is_refused_with_the_way_out(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelUnreadable, match="convert to safetensors"):
        load(folder)


def test_a_folder_for_another_pipeline_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    (folder / "model_index.json").write_bytes(msgspec.json.encode({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelUnreadable, match="FluxPipeline"):
        load(folder)


def test_the_variant_of_the_weights_that_was_asked_for_is_taken(checkpoints: Path, tmp_path: Path) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    plain = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(plain).items()}
    save_file(tensors, plain.with_suffix(".fp16.safetensors"))
    source = msgspec.structs.replace(source_of(folder), variant=Variant.FP16)
    unet = networks(load_parts(source, CPU, torch.float32))[0]
    assert not any(parameter.any() for parameter in unet.parameters())


def test_sharded_weights_and_the_old_names_of_the_vaes_attention_load(
    checkpoints: Path, tmp_path: Path
) -> None:
    folder = broken_folder(checkpoints, tmp_path)
    rename_vae_attention(folder / "vae" / "diffusion_pytorch_model.safetensors")
    shard(folder / "unet" / "diffusion_pytorch_model.safetensors")
    whole, sharded = load(checkpoints / "sd"), load(folder)
    for one, other in zip(networks(whole), networks(sharded), strict=True):
        assert all(map(torch.equal, one.parameters(), other.parameters()))


def rename_vae_attention(path: Path) -> None:
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for name in [name for name in tensors if ".attentions.0." in name]:
        for word, old in former.items():
            if f".{word}." in name:
                tensors[name.replace(word, old)] = tensors.pop(name)
    save_file(tensors, path)


def shard(path: Path) -> None:
    tensors = load_file(path)
    names = sorted(tensors)
    path.unlink()
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"part-{number}.safetensors"
        save_file({name: tensors[name] for name in part}, path.with_name(file))
        weight_map |= dict.fromkeys(part, file)
    index = path.with_name("diffusion_pytorch_model.safetensors.index.json")
    index.write_bytes(msgspec.json.encode({"weight_map": weight_map}))


@pytest.mark.parametrize("device", ["cuda:99", "abacus", "mps"])
def test_a_device_that_is_not_there_is_an_error_that_says_so(device: str, checkpoints: Path) -> None:
    order = load_order(checkpoints / "sd.safetensors")
    with pytest.raises(EngineFailed, match="device"):
        build(lambda outcome: None).load(
            EngineLoad(engine_id=order.engine_id, checkpoint=order.checkpoint, device=device)
        )
