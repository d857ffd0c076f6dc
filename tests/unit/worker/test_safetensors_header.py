"""Headers of safetensors files, sound and hostile."""

import json
from pathlib import Path

import pytest

from engine_worker.formats import safetensors_header
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.errors import ModelUnreadable
from tests.unit.worker.model_files import write_raw, write_safetensors


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def refused(path: Path) -> str:
    with pytest.raises(ModelUnreadable) as caught:
        read_header(path)
    return caught.value.detail


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    path = write_safetensors(
        tmp_path / "a.safetensors", {"a": (2, 3), "b": (), "c": (0, 5)}, "F32", {"key": "value"}
    )
    found = read_header(path)
    assert {name: tensor.shape for name, tensor in found.tensors.items()} == {
        "a": (2, 3),
        "b": (),
        "c": (0, 5),
    }
    assert found.tensors["a"].size_bytes == 24
    assert found.metadata == {"key": "value"}


def test_padding_after_the_header_is_allowed(tmp_path: Path) -> None:
    assert read_header(
        write_raw(tmp_path / "a", b'{"a":' + json.dumps(entry(0, 4)).encode() + b"}    ", 4)
    ).tensors


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"PK\x03\x04" + bytes(100), b"\x80\x02}q\x00." + bytes(100)]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert "a.safetensors" in refused(path)


def test_a_header_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    assert "truncated" in refused(write_raw(tmp_path / "a", b"{}", announced=3))
    assert "too long" in refused(write_raw(tmp_path / "a", b"{}", announced=2**64 - 1))


def test_a_header_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_raw(
        tmp_path / "a", b"{}", data_bytes=64 << 20, announced=safetensors_header.MAX_HEADER_BYTES + 1
    )
    assert "too long" in refused(path)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"a": 1}',
        b'{"a": {"dtype": "U8", "shape": [1]}}',
        b'{"a": {"dtype": "U8", "shape": "1", "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}',
        b'{"__metadata__": []}',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_header_that_says_something_else_is_refused(tmp_path: Path, text: bytes) -> None:
    assert "its header is invalid" in refused(write_raw(tmp_path / "a", text, 1))


@pytest.mark.parametrize(
    "tensor",
    [
        entry(0, 4, [3]),
        entry(0, 4, [2**40, 2**40]),
        entry(0, 4, [-2, -2]),
        entry(0, 4, dtype="F4"),
        entry(4, 0, [-4]),
        entry(0, 1, [1] * 9),
    ],
)
def test_a_tensor_whose_size_contradicts_its_shape_is_refused(
    tmp_path: Path, tensor: dict[str, object]
) -> None:
    assert "contradicts" in refused(write_raw(tmp_path / "a", json.dumps({"a": tensor}).encode(), 4))


def test_a_name_of_absurd_length_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"a" * 1001: entry(0, 4)}).encode()
    assert "damaged" in refused(write_raw(tmp_path / "a", text, 4))


@pytest.mark.parametrize(
    "spans", [[(0, 4), (2, 6)], [(0, 4), (0, 4)], [(0, 2), (4, 6)], [(2, 6)], [(-2, 2), (2, 6)]]
)
def test_tensors_that_overlap_or_leave_gaps_are_refused(tmp_path: Path, spans: list[tuple[int, int]]) -> None:
    tensors = {str(number): entry(*span) for number, span in enumerate(spans)}
    assert "overlap or leave gaps" in refused(write_raw(tmp_path / "a", json.dumps(tensors).encode(), 6))


def test_a_file_that_is_cut_short_is_refused_with_the_missing_bytes(tmp_path: Path) -> None:
    text = json.dumps({"a": entry(0, 100)}).encode()
    assert "40 bytes are missing" in refused(write_raw(tmp_path / "a", text, 60))


def test_bytes_behind_the_last_tensor_are_a_warning(tmp_path: Path) -> None:
    text = json.dumps({"a": entry(0, 100)}).encode()
    (warning,) = read_header(write_raw(tmp_path / "a", text, 103)).warnings
    assert "3 bytes behind its last tensor" in warning
    assert read_header(write_raw(tmp_path / "a", text, 100)).warnings == ()


@pytest.mark.parametrize(
    ("dtype", "shape", "size_bytes"),
    [("F8_E8M0", [4], 4), ("F4", [3, 2], 3), ("F6_E2M3", [4], 3), ("F6_E3M2", [8], 6), ("C64", [1], 8)],
)
def test_numbers_of_quantized_models_are_no_damage(
    tmp_path: Path, dtype: str, shape: list[int], size_bytes: int
) -> None:
    text = json.dumps({"a": entry(0, size_bytes, shape, dtype)}).encode()
    assert read_header(write_raw(tmp_path / "a", text, size_bytes)).tensors["a"].size_bytes == size_bytes


def test_numbers_of_an_unknown_type_are_called_so(tmp_path: Path) -> None:
    text = json.dumps({"a": entry(0, 4, dtype="F99")}).encode()
    assert "unknown type 'F99'" in refused(write_raw(tmp_path / "a", text, 4))


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    nothing = json.dumps(entry(0, 0))
    names = ",".join(f'"{number}":{nothing}' for number in range(safetensors_header.MAX_TENSORS + 1))
    assert "too many tensors" in refused(write_raw(tmp_path / "a", b"{" + names.encode() + b"}"))
