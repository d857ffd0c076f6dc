"""Names that lead elsewhere a moment later: nothing outside the allowed folders is ever read."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from engine_worker.formats.allowed_paths import open_file
from engine_worker.formats.model_folder import ModelFolder
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from tests.unit.worker.inspecting import inspect
from tests.unit.worker.model_files import SMALL_SD, write_raw, write_safetensors

TRIES: Final = 300
MOST: Final = 10 * TRIES
REFUSED: Final = "refused"
SWAP: Final = """
import os, sys
name, *targets = sys.argv[1:]
print("up", flush=True)
while True:
    for target in targets:
        os.symlink(target, name + ".new")
        os.replace(name + ".new", name)
"""
"""Another process, for which nothing waits."""


@contextmanager
def swapping(name: Path, *targets: Path) -> Iterator[None]:
    """Meanwhile the name is a link that leads to one target after the other, without a pause."""
    command = [sys.executable, "-c", SWAP, str(name), *map(str, targets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            yield
        finally:
            swapper.kill()


def tried(look: Callable[[], str]) -> Counter[str]:
    """What was seen, and how often: more often if the other process was hardly there to swap anything."""
    found: Counter[str] = Counter()
    while found.total() < TRIES or (len(found) < 2 and found.total() < MOST):
        found[look()] += 1
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that models may lie in; `outside` is none."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


def sha256_of(uri: str, root: Path) -> str:
    source = ModelSource(model_id=ModelId("m"), name="m", uri=uri, model_type=ModelType.CHECKPOINT)
    try:
        return inspect(source, [root], lambda done, total: None).sha256
    except ModelUnreadable:
        return REFUSED


def test_no_swapped_link_has_a_file_outside_inspected(root: Path) -> None:
    inside = write_safetensors(root / "a.safetensors", SMALL_SD)
    outside = write_safetensors(root.parent / "outside/b.safetensors", SMALL_SD, metadata={"not": "ours"})
    right = sha256_of(inside.as_uri(), root)
    assert right != REFUSED
    link = root / "link.safetensors"
    with swapping(link, inside, outside):
        found = tried(lambda: sha256_of(link.as_uri(), root))
    assert set(found) <= {right, REFUSED}, found


def test_no_swapped_folder_has_a_file_outside_inspected(root: Path) -> None:
    (root / "inside").mkdir()
    inside = write_safetensors(root / "inside/a.safetensors", SMALL_SD)
    write_safetensors(root.parent / "outside/a.safetensors", SMALL_SD, metadata={"not": "ours"})
    right = sha256_of(inside.as_uri(), root)
    assert right != REFUSED
    link = root / "link"
    with swapping(link, root / "inside", root.parent / "outside"):
        found = tried(lambda: sha256_of((link / "a.safetensors").as_uri(), root))
    assert set(found) <= {right, REFUSED}, found


def test_no_swapped_link_has_a_file_outside_loaded(root: Path) -> None:
    """An engine opens what was confined a moment before."""
    (root / "inside").write_bytes(b"inside")
    (root.parent / "outside/file").write_bytes(b"outside")
    link = root / "link"

    def read() -> str:
        try:
            with open_file(link, [root]).open() as file:
                return file.read().decode()
        except ModelUnreadable:
            return REFUSED

    with swapping(link, root / "inside", root.parent / "outside/file"):
        found = tried(read)
    assert set(found) <= {"inside", REFUSED}, found


def test_no_swapped_folder_shows_what_is_outside(root: Path) -> None:
    """Also the names of files are none of anybody's business."""
    (root / "inside/unet").mkdir(parents=True)
    (root / "inside/unet/ours.json").write_bytes(b"{}")
    (root.parent / "outside/secret.json").write_bytes(b"{}")
    unet = root / "model/unet"
    unet.parent.mkdir()

    def names() -> str:
        try:
            return " ".join(name for name, _ in ModelFolder(root / "model", [root]).model_files())
        except ModelUnreadable as error:
            return error.detail

    with swapping(unet, root / "inside/unet", root.parent / "outside"):
        found = tried(names)
    assert not any("secret" in words for words in found), found


def test_what_was_opened_is_what_is_read_whatever_takes_its_name(root: Path) -> None:
    file = write_safetensors(root / "a.safetensors", SMALL_SD)
    whole = file.read_bytes()
    held = open_file(file, [root])
    write_safetensors(root / "new", SMALL_SD, metadata={"another": "file"}).rename(file)
    with held.open() as stream:
        assert stream.read() == whole


def test_descriptors_are_given_back(root: Path) -> None:
    inside = write_safetensors(root / "a.safetensors", SMALL_SD)
    write_raw(root / "broken.safetensors", b"{")
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        sha256_of(inside.as_uri(), root)
        sha256_of((root / "broken.safetensors").as_uri(), root)
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before
