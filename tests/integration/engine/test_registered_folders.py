"""What registration takes of folders, ControlNets, VAEs, LoRAs and embeddings, the engine loads and uses."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import EXAMPLES, FLOATS, as_tensors, draw, mutated, write
from small_engine import model_source, source_of

from engine_worker.engine.adapters.controlnet_file import load_controlnet
from engine_worker.engine.adapters.lora_file import read_lora
from engine_worker.engine.adapters.lora_names import LayerNames
from engine_worker.engine.adapters.vae_file import load_vae
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode, encode
from engine_worker.engine.prompts.embeddings import make_embedding_tokens, read_embedding
from engine_worker.formats.lora_scales import PeftConfig
from engine_worker.formats.network_options import (
    _ONE_VALUE,
    TextEncoderOptions,
    VaeOptions,
    _ControlNet,
    _UNet,
)
from engine_worker.formats.safetensors_header import read_header
from engine_worker.formats.scheduler_config import _Options
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import JobRejected, ModelUnreadable
from kernel.protocol.specs import Fingerprint
from tests.unit.worker.inspecting import look_at
from tests.unit.worker.model_files import (
    VAE_ALONE,
    Shapes,
    change_json,
    controlnet,
    controlnet_plan,
    stored_shapes,
    vae_plan,
    write_diffusers_folder,
    write_json,
)

pytestmark = pytest.mark.torch

VALUES: Final = [
    None, True, False, 0, 1, 2, 3, 4, 8, 16, 77, 320, -1, 0.5, 1e-5, 1e30, 1 << 70, "", "x", "gelu", "silu",
    "mish", "linear", "trailing", "epsilon", "v_prediction", [], [8], [8, 8], [1, 1], [2, 1], ["x"],
    [[1], [1]], {}, {"x": 1}, ["DownBlock2D"] * 2, ["CrossAttnDownBlock2D"] * 2, "UNetMidBlock2D",
    "text_time",
]  # fmt: skip
WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
MORE: Final = ["norm_eps", "architectures", "torch_dtype", "_name_or_path", "force_upcast", "sample_size"]


def options(*structs: type) -> list[str]:
    """The names of a configuration's options that something is decided by, and of some others."""
    named = [name for one in structs for name in one.__struct_fields__]
    return sorted({*named, *_ONE_VALUE, *MORE} - {"class_name"})


CONFIGS: Final[Mapping[str, list[str]]] = {
    "unet/config.json": options(_UNet),
    "vae/config.json": options(VaeOptions),
    "text_encoder/config.json": [*options(TextEncoderOptions), "bos_token_id", "attention_dropout"],
    "scheduler/scheduler_config.json": options(_Options),
    "model_index.json": [
        "vae", "unet", "text_encoder", "tokenizer", "scheduler", "safety_checker", "feature_extractor",
        "force_zeros_for_empty_prompt", "_class_name", "image_encoder", "text_encoder_2",
    ],
    "tokenizer/vocab.json": ["a", "<|endoftext|>", "<|startoftext|>", "ab", "b</w>"],
    "tokenizer/tokenizer_config.json": ["pad_token", "unk_token", "model_max_length", "do_lower_case"],
    "tokenizer/special_tokens_map.json": ["pad_token", "eos_token"],
}  # fmt: skip


def registered(path: Path, model_type: ModelType) -> Fingerprint | None:
    """What registration says of a model; None, if it refuses it."""
    try:
        return look_at(path, model_type)
    except ModelUnreadable:
        return None


@contextmanager
def refused_only_for_another() -> Iterator[None]:
    """Lets pass what only a checkpoint can tell of a model that is laid over it."""
    try:
        yield
    except (ModelUnreadable, JobRejected) as error:
        known = ("another base", " is for ", "but the checkpoint has", "not an embedding for")
        if not any(words in error.detail for words in known):
            raise


CHANGES: Final = ["weights", "lose", "empty", "cut", "variant", "shard", "add"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[ModelBase, Path]:
    """A good folder of each base, all zeros."""
    place = tmp_path_factory.mktemp("folders")
    return {base: write_diffusers_folder(place / base, is_sdxl=base is ModelBase.SDXL) for base in ModelBase}


@pytest.fixture(scope="module")
def zeros(folders: Mapping[ModelBase, Path]) -> Mapping[ModelBase, Components]:
    """The same, loaded."""
    return {
        base: load_components(source_of(folder), torch.device("cpu"), torch.float32)
        for base, folder in folders.items()
    }


def tensors_of(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (entry.shape, entry.dtype) for name, entry in read_header(path).tensors.items()}


def change_config(data: st.DataObject, path: Path, names: list[str]) -> None:
    change = {data.draw(st.sampled_from(names)): data.draw(st.sampled_from(VALUES))}
    with suppress(ValueError):  # an earlier change may have damaged the file
        change_json(path, **change)


def change_folder(data: st.DataObject, folder: Path) -> None:
    """One change of a kind that tools and people make."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    match data.draw(
        st.sampled_from(["config"] * 4 + ["weights", "lose", "empty", "cut", "variant", "shard", "add"])
    ):
        case "config":
            name = data.draw(st.sampled_from(sorted(CONFIGS)))
            change_config(data, folder / name, CONFIGS[name])
        case "weights":
            path = data.draw(st.sampled_from([path for path in files if path.suffix == ".safetensors"]))
            write(path, data.draw(mutated(tensors_of(path))))
        case "lose":
            data.draw(st.sampled_from(files)).unlink()
        case "empty":
            data.draw(st.sampled_from(files)).write_bytes(b"")
        case "cut":
            path = data.draw(st.sampled_from(files))
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "variant":
            path = data.draw(st.sampled_from([path for path in files if path.suffix == ".safetensors"]))
            path.rename(
                path.with_suffix(
                    data.draw(st.sampled_from([".fp16.safetensors", ".bin", ".ema.safetensors"]))
                )
            )
        case "shard":
            shard(data, folder / "unet")
        case _:
            name = data.draw(
                st.sampled_from(["unet/extra.safetensors", "x.py", "tokenizer/added_tokens.json", "vae/x"])
            )
            (folder / name).parent.mkdir(exist_ok=True)
            write_json(
                folder / name,
                {data.draw(st.sampled_from(["<new>", "a"])): data.draw(st.integers(-1, 50_000))},
            )


def shard(data: st.DataObject, part: Path) -> None:
    """Cut the weights of a network into two files, with an index that may be wrong."""
    if not (part / WEIGHTS).exists():
        return
    tensors = tensors_of(part / WEIGHTS)
    (part / WEIGHTS).unlink()
    names = sorted(tensors)
    half = data.draw(st.integers(0, len(names)))
    stem = "diffusion_pytorch_model-0000{}-of-00002.safetensors"
    for number, mine in enumerate((names[:half], names[half:]), 1):
        write(part / stem.format(number), {name: tensors[name] for name in mine})
    where = {name: stem.format(1 if name in names[:half] else 2) for name in names}
    if data.draw(st.booleans()):
        where[data.draw(st.sampled_from(names))] = data.draw(
            st.sampled_from([stem.format(3), "../x.safetensors"])
        )
    write_json(part / f"{WEIGHTS}.index.json", {"weight_map": where})


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_changed_folder_is_refused_or_draws(folders: Mapping[ModelBase, Path], data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        folder = Path(
            shutil.copytree(folders[data.draw(st.sampled_from(list(ModelBase)))], Path(place) / "model")
        )
        for _ in range(data.draw(st.integers(0, 2))):
            change_folder(data, folder)
        found = registered(folder, ModelType.CHECKPOINT)
        if found is not None and found.memory is not None and not found.memory.lacks_vae:
            draw(folder)


CONTROLS: Final[list[Shapes]] = [
    controlnet(is_diffusers=is_diffusers, base=base) for base in ModelBase for is_diffusers in (True, False)
]


@settings(max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_a_changed_controlnet_is_refused_or_guides(
    zeros: Mapping[ModelBase, Components], data: st.DataObject
) -> None:
    base = data.draw(st.sampled_from(list(ModelBase)))
    with TemporaryDirectory() as place:
        if data.draw(st.booleans()):
            plan = controlnet_plan(base=base)
            path = write_json(
                Path(place) / "net/config.json", {"_class_name": "ControlNetModel", **plan.config}
            ).parent
            write(path / WEIGHTS, data.draw(mutated(as_tensors(stored_shapes([plan])), 0)))
            for _ in range(data.draw(st.integers(0, 2))):
                change_config(data, path / "config.json", options(_ControlNet))
        else:
            good = as_tensors(data.draw(st.sampled_from(CONTROLS)), data.draw(st.sampled_from(FLOATS)))
            path = write(Path(place) / "net.safetensors", data.draw(mutated(good, 0)))
        if registered(path, ModelType.CONTROLNET) is None:
            return
        net = None
        with refused_only_for_another():
            net = load_controlnet(model_source(path, ModelType.CONTROLNET), zeros[base]).network
        if net is None:
            return
    added = {"text_embeds": torch.zeros(1, 16), "time_ids": torch.zeros(1, 6)}
    with torch.inference_mode():
        net(
            torch.zeros(1, 4, 8, 8),
            torch.tensor([5]),
            encoder_hidden_states=torch.zeros(1, 77, zeros[base].unet_shape.cross_attention_width),
            controlnet_cond=torch.zeros(1, 3, 64, 64),
            added_cond_kwargs=added if base is ModelBase.SDXL else None,
            return_dict=False,
        )


@settings(max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_a_changed_vae_is_refused_or_decodes(
    zeros: Mapping[ModelBase, Components], data: st.DataObject
) -> None:
    with TemporaryDirectory() as place:
        if data.draw(st.booleans()):
            plan = vae_plan()
            path = write_json(
                Path(place) / "vae/config.json", {"_class_name": "AutoencoderKL", **plan.config}
            ).parent
            write(path / WEIGHTS, data.draw(mutated(as_tensors(stored_shapes([plan])), 0)))
            for _ in range(data.draw(st.integers(0, 2))):
                change_config(data, path / "config.json", options(VaeOptions))
        else:
            shapes = data.draw(st.sampled_from([VAE_ALONE, stored_shapes([vae_plan()])]))
            path = write(Path(place) / "vae.safetensors", data.draw(mutated(as_tensors(shapes), 0)))
        if registered(path, ModelType.VAE) is None:
            return
        vae = None
        with refused_only_for_another():
            vae = load_vae(model_source(path, ModelType.VAE), zeros[ModelBase.SD]).vae
        if vae is None:
            return
    with torch.inference_mode():
        encode(vae, torch.zeros(1, 3, 64, 64), torch.device("cpu"))
        decode(vae, torch.zeros(1, 4, 8, 8))


EMBEDDINGS: Final[list[Shapes]] = [
    {"emb_params": (2, 8)},
    {"<cat>": (8,)},
    {"clip_l": (2, 8), "clip_g": (2, 16)},
    {"text_encoders_0": (2, 8), "text_encoders_1": (2, 16)},
    {"clip_l": (1, 8), "clip_g": (1, 16), "clip_l_out": (1, 8), "clip_g_out": (1, 16)},
    {"<cat>": (1, 8), "<dog>": (2, 8)},
    {"cat.clip_l": (1, 8), "cat.clip_g": (1, 16), "dog.clip_l": (1, 8), "dog.clip_g": (1, 16)},
    {"string_to_param.*": (3, 8)},
]


@settings(max_examples=4 * EXAMPLES)
@given(data=st.data())
def test_a_changed_embedding_is_refused_or_makes_tokens(
    zeros: Mapping[ModelBase, Components], data: st.DataObject
) -> None:
    with TemporaryDirectory() as place:
        good = as_tensors(data.draw(st.sampled_from(EMBEDDINGS)), data.draw(st.sampled_from(FLOATS)))
        path = write(Path(place) / "word.safetensors", data.draw(mutated(good, 0)))
        found = registered(path, ModelType.EMBEDDING)
        if found is None:
            return
        source = model_source(path, ModelType.EMBEDDING)
        for base in [found.model_base] if found.model_base else list(ModelBase):
            with refused_only_for_another():
                words = read_embedding(source, zeros[base])
                encoders = 1 if base is ModelBase.SD else 2
                assert len(make_embedding_tokens([source], [words], (), encoders)) == encoders


@settings(max_examples=4 * EXAMPLES)
@given(data=st.data())
def test_a_changed_folder_of_a_lora_is_refused_or_loads(
    zeros: Mapping[ModelBase, Components], data: st.DataObject
) -> None:
    stem = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_"
    good = {
        f"{stem}{one}.lora_{way}.weight": side
        for one in "qkv"
        for way, side in (("A", (2, 8)), ("B", (8, 2)))
    }
    with TemporaryDirectory() as place:
        folder = Path(place) / "lora"
        write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 2, "lora_alpha": 4})
        write(folder / "adapter_model.safetensors", data.draw(mutated(as_tensors(good), 0)))
        for _ in range(data.draw(st.integers(0, 2))):
            change_config(data, folder / "adapter_config.json", [*PeftConfig.__struct_fields__, "bias"])
        if registered(folder, ModelType.LORA) is None:
            return
        parts = zeros[ModelBase.SD]
        names = LayerNames(parts.networks, parts.unet_shape)
        with refused_only_for_another():
            read_lora(model_source(folder, ModelType.LORA), names, parts.base)
