"""Whatever a model file holds and whatever its address is, it is inspected or refused in words."""

import json
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine_worker.formats.allowed_paths import resolve
from engine_worker.formats.safetensors_header import DTYPE_BYTES, read_header
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from tests.unit.worker.inspecting import inspect
from tests.unit.worker.model_files import SMALL_SD, write_raw

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
NAMES = [
    *SMALL_SD,
    "__metadata__",
    "emb_params",
    "clip_g",
    "mid_block.resnets.0.conv1.lora_A.weight",
    "mid_block.resnets.0.conv1.lora_B.weight",
    "mid_block.resnets.0.conv1.oft_blocks",
    "mid_block.resnets.0.conv1.diff_b",
    "bundle_emb.cat.clip_l",
    "control_model.x",
]
TENSORS = st.dictionaries(
    st.sampled_from(
        [
            *SMALL_SD,
            "__metadata__",
            "emb_params",
            "mid_block.resnets.0.conv1.lora_A.weight",
            "mid_block.resnets.0.conv1.lora_B.weight",
            "mid_block.resnets.0.conv1.oft_blocks",
            "control_model.x",
        ]
    ),
    JSON
    | st.fixed_dictionaries(
        {
            "dtype": st.sampled_from([*DTYPE_BYTES, "?"]),
            "shape": st.lists(st.integers(-2, 5), max_size=5),
            "data_offsets": st.lists(st.integers(-4, 200), min_size=2, max_size=2),
        }
    ),
    max_size=6,
)


def look_at(path: Path) -> None:
    """Inspect the file as every type there is; only ModelUnreadable may come of it."""
    for model_type in ModelType:
        source = ModelSource(model_id=ModelId("m"), name="m", uri=f"file://{path}", model_type=model_type)
        try:
            found = inspect(source, [path.parent], lambda done, total: None)
        except ModelUnreadable:
            continue
        assert found.model_type is model_type
        assert found.memory_bytes <= found.size_bytes


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(content)
        look_at(path)


@given(tensors=TENSORS, data_bytes=st.integers(0, 300))
def test_any_header_is_read_or_refused(tensors: dict[str, object], data_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        look_at(write_raw(Path(folder) / "a.safetensors", json.dumps(tensors).encode(), data_bytes))


@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6),
    dtype=st.sampled_from([*DTYPE_BYTES]),
)
def test_every_sound_header_is_read(shapes: list[list[int]], dtype: str) -> None:
    entries: dict[str, object] = {}
    offset = 0
    for number, shape in enumerate(shapes):
        size = DTYPE_BYTES[dtype]
        for length in shape:
            size *= length
        entries[str(number)] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
        assert len(read_header(path).tensors) == len(shapes)


@given(
    name=st.text(max_size=40),
    prefix=st.sampled_from(["", "file:", "file://", "file:///", "file://localhost/"]),
)
def test_any_address_leads_inside_the_root_or_nowhere(name: str, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "root"
        root.mkdir()
        for uri in (prefix + name, f"file://{root}/{name}", f"file://{root}/../{name}"):
            with suppress(ModelUnreadable):
                assert resolve(uri, [root]).is_relative_to(root)
