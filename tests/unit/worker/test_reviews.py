"""Inspecting again what was inspected before: headers only, wherever the model is."""

from pathlib import Path

import msgspec
import pytest

from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable
from tests.unit.worker.inspecting import inspect, look_at, refused, source_of
from tests.unit.worker.model_files import SMALL_SD, write_diffusers_folder, write_safetensors


def test_a_model_that_was_inspected_before_is_not_read_whole(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", SMALL_SD)
    folder = write_diffusers_folder(tmp_path / "folder")
    for place in (path, folder):
        size_bytes = look_at(place).size_bytes
        known = msgspec.structs.replace(source_of(place), sha256="0" * 64, known_bytes=size_bytes)
        found = inspect(known, [tmp_path], lambda done, total: None)
        assert (found.sha256, found.size_bytes) == ("0" * 64, size_bytes)
        changed = msgspec.structs.replace(known, known_bytes=size_bytes - 1)
        assert "has changed since it was registered" in refused(changed, tmp_path)


def test_a_stored_model_is_inspected_where_it_is(tmp_path: Path) -> None:
    name = f"files/{'0' * 64}.safetensors"
    write_safetensors(tmp_path / name, SMALL_SD)
    source = msgspec.structs.replace(source_of(tmp_path), uri=f"stored:{name}")
    found = inspect(source, [], lambda done, total: None, folder=tmp_path)
    assert found.model_base is ModelBase.SD
    write_safetensors(tmp_path / name, {})
    with pytest.raises(ModelUnreadable, match=r"^the file contains no tensors"):
        inspect(source, [], lambda done, total: None, folder=tmp_path)
