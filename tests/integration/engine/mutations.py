"""Mutations of good models, for the tests that what registration takes is what the engine draws with."""

import json
import struct
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from small_engine import Outcomes, load_order, order, spec

from bench.bell import Bell
from engine_worker.engine.diffusers_engine import build
from engine_worker.formats.safetensors_header import DTYPE_BYTES
from engine_worker.port import Completed
from tests.unit.worker.model_files import UNET, Shapes

EXAMPLES = 15 if settings.default is None or settings.default.max_examples <= 100 else 1_000
Tensors = dict[str, tuple[tuple[int, ...], str]]
"""Shapes and types by name."""
FLOATS = ["F16", "F32", "BF16", "F64", "F8_E4M3", "F8_E5M2"]
NAMES = [
    "logit_scale", "mystery.weight", f"{UNET}mystery.weight", f"{UNET}input_blocks.0.1.weight",
    f"{UNET}time_embedding.cond_proj.weight", f"{UNET}label_emb.0.0.weight", f"{UNET}middle_block.3.weight",
    "first_stage_model.decoder.extra", "cond_stage_model.transformer.text_model.extra", "v_pred", "ztsnr",
    "cond_stage_model.model.ln_final.weight", "first_stage_model.encoder.down.4.block.0.conv1.weight",
    f"{UNET}input_blocks.4.0.op.weight", "control_model.input_hint_block.0.weight", "emb_params",
]  # fmt: skip


def write(path: Path, tensors: Tensors) -> Path:
    """A checkpoint of zeros."""
    header, offset = {}, 0
    for name, (shape, dtype) in tensors.items():
        size = DTYPE_BYTES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return path


def draw(path: Path) -> None:
    """Start the real engine, and make an image."""
    outcomes = Outcomes()
    engine = build(outcomes.emit, Bell().ring)
    engine.load(load_order(path))
    engine.admit(order("job", spec(steps=1)))
    while engine.step():
        pass
    engine.close()
    ending = outcomes.ending("job")
    assert isinstance(ending, Completed), ending


@st.composite
def mutated(draw: st.DrawFn, tensors: Tensors, least: int = 1) -> Tensors:
    """A good header with a few changes."""
    tensors = dict(tensors)
    for _ in range(draw(st.integers(least, 3))):
        name = draw(st.sampled_from(sorted(tensors)))
        shape, dtype = tensors[name]
        match draw(st.sampled_from(["drop", "rename", "reshape", "add", "retype"])):
            case "drop":
                del tensors[name]
            case "rename":
                other = draw(st.sampled_from([f"{name}.old", f"model_ema.{name}", *NAMES]))
                tensors[other] = tensors.pop(name)
            case "reshape":
                tensors[name] = (draw(shapes_near(shape)), dtype)
            case "add":
                tensors[draw(st.sampled_from(NAMES))] = (draw(shapes_near(shape)), dtype)
            case _:
                tensors[name] = (shape, draw(st.sampled_from(sorted(DTYPE_BYTES))))
        if not tensors:
            break
    return tensors


def as_tensors(shapes: Shapes, dtype: str = "F16") -> Tensors:
    """All in one precision."""
    return {name: (shape, dtype) for name, shape in shapes.items()}


def shapes_near(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    sides = st.sampled_from([1, 2, 4, 8, 9, 16])
    changed = [(*shape[:at], side, *shape[at + 1 :]) for at in range(len(shape)) for side in (1, 4, 9)]
    near = [shape, shape[::-1], (*shape, 1), shape[:-1], (), *changed]
    return st.sampled_from(near) | st.tuples(sides, sides)
