"""Pickles: refused, or converted by a process that takes tensors and nothing else."""

import os
import pickle
from pathlib import Path

import pytest

from engine_worker.engine.loading import unpickle
from engine_worker.fetch import pickles
from engine_worker.formats.allowed_paths import opened
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable
from tests.integration.fetch.bench import Bench, sha256
from tests.integration.fetch.site import file
from tests.unit.worker.model_files import SMALL_SD

pytestmark = pytest.mark.torch


class Attack:
    """What a stranger would put into a pickle."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._mark),)


def checkpoint(path: Path) -> bytes:
    import torch

    tensors = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in SMALL_SD.items()}
    torch.save({"state_dict": tensors, "epoch": 3}, path)
    return path.read_bytes()


def test_a_pickle_is_refused_unless_it_is_allowed(bench: Bench, tmp_path: Path) -> None:
    bench.site.scripts["/dreams.ckpt"] = file(checkpoint(tmp_path / "sample.ckpt"))
    with pytest.raises(ModelUnreadable, match=r"^the file is a pickle, which can run arbitrary code"):
        bench.fetch("http://example.org/dreams.ckpt")
    assert bench.left_behind() == []


def test_an_allowed_pickle_becomes_safetensors_and_is_inspected_like_any_other(
    bench: Bench, tmp_path: Path
) -> None:
    data = checkpoint(tmp_path / "sample.ckpt")
    bench.allows_pickle = True
    bench.site.scripts["/dreams.ckpt"] = file(data)
    found = bench.fetch("http://example.org/dreams.ckpt", sha256=sha256(data))
    ready = (bench.staging / "ready").read_bytes()
    assert found.fingerprint.model_base is ModelBase.SD
    assert found.stored == f"files/{sha256(ready)}.safetensors"
    assert found.fingerprint.sha256 == sha256(ready)


def test_another_digest_than_the_declared_one_is_told_before_anything_is_opened(
    bench: Bench, tmp_path: Path
) -> None:
    path = bench.folder / "roots/dreams.ckpt"
    data = checkpoint(path)
    bench.allows_pickle = True
    with pytest.raises(ModelUnreadable, match="was declared"):
        bench.fetch(path.as_uri(), sha256="0" * 64)
    assert path.read_bytes() == data


def test_a_pickle_that_wants_to_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": Attack(tmp_path / "was here")}, tmp_path / "attack.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Attack(tmp_path / "was here"), protocol=2))
    for name in ("attack.ckpt", "bare.ckpt"):
        with pytest.raises(pickle.UnpicklingError):
            unpickle.convert(tmp_path / name, tmp_path / "out.safetensors")
        assert not (tmp_path / "was here").exists()
        assert not (tmp_path / "out.safetensors").exists()


def test_a_pickle_without_tensors_is_no_model(tmp_path: Path) -> None:
    import torch

    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    with pytest.raises(ValueError, match="no tensors"):
        unpickle.convert(tmp_path / "empty.ckpt", tmp_path / "out.safetensors")


def test_a_textual_inversion_of_the_old_kind_becomes_an_embedding(tmp_path: Path) -> None:
    import torch

    torch.save({"string_to_param": {"*": torch.ones(2, 768)}, "name": "fox"}, tmp_path / "fox.pt")
    unpickle.convert(tmp_path / "fox.pt", tmp_path / "fox.safetensors")
    found = read_header(tmp_path / "fox.safetensors").tensors
    assert {name: entry.shape for name, entry in found.items()} == {"emb_params": (2, 768)}


@pytest.mark.exhaustive
def test_the_oldest_kind_and_several_words_become_embeddings(tmp_path: Path) -> None:
    import torch

    vectors = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 768))})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": vectors}, tmp_path / "old.pt")
    torch.save({"<cat>": torch.ones(768), "<dog>": torch.ones(768)}, tmp_path / "words.bin")
    torch.save(
        {"string_to_param": {"cat": torch.ones(1, 768), "dog": torch.ones(1, 768)}}, tmp_path / "two.pt"
    )
    found = {}
    for name in ("old.pt", "words.bin", "two.pt"):
        pickles.convert(opened(tmp_path / name), tmp_path / "out.safetensors")
        found[name] = set(read_header(tmp_path / "out.safetensors").tensors)
    assert found == {"old.pt": {"emb_params"}, "words.bin": {"<cat>", "<dog>"}, "two.pt": {"cat", "dog"}}


def test_a_refused_pickle_is_told_in_our_words_without_codes_for_terminals(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": Attack(tmp_path / "was here")}, tmp_path / "attack.ckpt")
    (tmp_path / "torn.ckpt").write_bytes(checkpoint(tmp_path / "sample.ckpt")[:-100])
    (tmp_path / "text.ckpt").write_bytes(b"\x80\x1b[31mred\x1b[0m")
    said = []
    for name in ("attack.ckpt", "torn.ckpt", "text.ckpt"):
        with pytest.raises(ModelUnreadable) as caught:
            pickles.convert(opened(tmp_path / name), tmp_path / "out.safetensors")
        said.append(caught.value.detail.removeprefix("the pickle cannot be converted: "))
    assert said[0].endswith("which could run code")
    assert said[1:] == ["it is not a pickle of tensors and plain containers, or it is damaged"] * 2
    assert all(text.isprintable() for text in said)


def test_what_the_converting_process_cannot_do_is_an_error_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "sample.ckpt")
    monkeypatch.setattr(pickles, "BASE_BYTES", 300 << 20)
    with pytest.raises(ModelUnreadable, match="the pickle"):
        pickles.convert(opened(tmp_path / "sample.ckpt"), tmp_path / "out.safetensors")
