"""The small checkpoint with random weights, as the command writes it."""

from pathlib import Path

import pytest

from engine_worker.embedded.random_checkpoint import NATIVE_SIZE_PX, main
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import ModelBase

pytestmark = pytest.mark.torch


def test_the_command_writes_what_inspection_recognises(tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.safetensors"
    main([str(path), "--base", "sdxl", "--seed", "3"])
    finding = describe_file(path)
    assert finding.model_base is ModelBase.SDXL
    assert finding.native_size_px == NATIVE_SIZE_PX


def test_the_seed_decides_every_weight(tmp_path: Path) -> None:
    for name, seed in [("a", "1"), ("b", "1"), ("c", "2")]:
        main([str(tmp_path / name), "--seed", seed])
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c
