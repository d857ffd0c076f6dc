"""Parts of models for workers of other hosts: read from files that are as registered, and from no others."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

import pytest

from kernel.core.actions import ReadModelPart
from kernel.core.events import ModelFilesListed, ModelPartNotRead, WantedPart
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId, WorkerId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.worker import FileOfModel
from kernel.shell.model_parts import PartOutcome, PartRead, PartReader

DATA = bytes(range(256)) * 40


class Desk:
    """A reader, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.models, self.shared, self.outside = folder / "models", folder / "shared", folder / "outside"
        for place in (self.models / "files", self.models / "trees", self.shared, self.outside):
            place.mkdir(parents=True)
        self.outcomes: SimpleQueue[PartOutcome | BaseException] = SimpleQueue()
        self.reader = PartReader(self.models, (self.shared,), self.outcomes.put)

    def ask(
        self,
        place: Path | str,
        file: str | None = None,
        *,
        offset: int = 0,
        size_bytes: int | None = len(DATA),
        beside: str | None = None,
    ) -> PartOutcome:
        """For a path, of a model that is used in place; for a name, of a stored one."""
        part = WantedPart(WorkerId("w"), ModelId("m"), "a" * 64, file, offset, 0 if file is None else 1_000)
        uri = place.as_uri() if isinstance(place, Path) else f"stored:{place}"
        source = ModelSource(
            model_id=part.model_id,
            name="fox",
            uri=uri,
            model_type=ModelType.CHECKPOINT,
            size_bytes=size_bytes,
            beside=beside,
        )
        self.reader.read(ReadModelPart(part, source))
        outcome = self.outcomes.get(timeout=20)
        assert not isinstance(outcome, BaseException)
        return outcome

    def refusal(self, place: Path | str, file: str | None = None, **fields: object) -> str:
        outcome = self.ask(place, file, **fields)  # type: ignore[arg-type]
        assert isinstance(outcome, ModelPartNotRead), outcome
        assert "/" not in outcome.reason, "no path of this host"
        return outcome.reason


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.reader.close()


def test_a_file_is_listed_under_a_name_of_ours_and_read_in_parts(desk: Desk) -> None:
    (desk.shared / "My Fox.SafeTensors").write_bytes(DATA)
    file = desk.shared / "My Fox.SafeTensors"
    listed = desk.ask(file)
    assert isinstance(listed, ModelFilesListed)
    assert listed.files == (FileOfModel(name="model.safetensors", size_bytes=len(DATA)),)
    assert not listed.is_folder
    for offset in (0, 1_000, len(DATA) - 10):
        read = desk.ask(file, "model.safetensors", offset=offset)
        assert isinstance(read, PartRead)
        assert read.data == DATA[offset : offset + 1_000]


def test_a_stored_model_is_read_from_the_models_folder(desk: Desk) -> None:
    name = f"files/{sha256(DATA).hexdigest()}.safetensors"
    (desk.models / name).write_bytes(DATA)
    assert isinstance(desk.ask(name, "model.safetensors"), PartRead)


@pytest.mark.parametrize(
    ("beside", "name", "listed"),
    [
        (".yaml v_prediction", "fox.yaml", "model.yaml"),
        ("adapter_config.json 12ab", "adapter_config.json", None),
    ],
)
def test_the_file_beside_a_model_that_decides_its_images_goes_with_it(
    desk: Desk, beside: str, name: str, listed: str | None
) -> None:
    (desk.shared / "fox.safetensors").write_bytes(DATA)
    (desk.shared / name).write_bytes(b"words")
    (desk.shared / "secret.json").write_bytes(b"not part of it")
    found = desk.ask(desk.shared / "fox.safetensors", beside=beside)
    assert isinstance(found, ModelFilesListed)
    assert found.files[1] == FileOfModel(name=listed or name, size_bytes=5)
    read = desk.ask(desk.shared / "fox.safetensors", listed or name, beside=beside)
    assert isinstance(read, PartRead)
    assert read.data == b"words"
    assert desk.refusal(desk.shared / "fox.safetensors", "secret.json", beside=beside)


def test_a_folder_is_listed_with_the_files_that_belong_to_the_model(desk: Desk) -> None:
    tree = desk.shared / "fox"
    (desk.shared / "other.json").write_bytes(b"another model's")
    mine = ("unet/weights.safetensors", "model_index.json")
    for name in (*mine, "readme.md", ".git/x.json", ".hidden.json", "unet/code.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"12345")
    listed = desk.ask(tree, size_bytes=10)
    assert isinstance(listed, ModelFilesListed)
    assert {file.name for file in listed.files} == {"model_index.json", "unet/weights.safetensors"}
    assert listed.is_folder
    read = desk.ask(tree, "unet/weights.safetensors", size_bytes=10)
    assert isinstance(read, PartRead)
    others = ("readme.md", ".git/x.json", "../other.json", "unet", str(desk.shared / "other.json"))
    for wrong in (*others, "unet/../../other.json", ".hidden.json"):
        assert desk.refusal(tree, wrong, size_bytes=10), wrong


def test_a_file_of_another_size_than_registered_is_not_sent(desk: Desk) -> None:
    file = desk.shared / "fox.safetensors"
    file.write_bytes(DATA + b"more")
    assert "changed" in desk.refusal(file)
    assert "changed" in desk.refusal(file, "model.safetensors")
    file.write_bytes(DATA)
    assert "changed" in desk.refusal(file, "model.safetensors", offset=len(DATA))


def test_nothing_outside_the_folders_for_models_is_read(desk: Desk) -> None:
    secret = desk.outside / "secret.safetensors"
    secret.write_bytes(DATA)
    link, tree = desk.shared / "link.safetensors", desk.shared / "tree"
    link.symlink_to(secret)
    tree.mkdir()
    (tree / "model.safetensors").symlink_to(secret)
    os.mkfifo(desk.shared / "pipe.safetensors")
    for place in (secret, link, desk.shared / "pipe.safetensors", desk.shared / "absent.safetensors"):
        assert desk.refusal(place), place
        assert desk.refusal(place, "model.safetensors"), place
    assert desk.refusal(tree, "model.safetensors")


def test_a_file_beside_a_model_that_is_too_long_is_not_sent(desk: Desk) -> None:
    (desk.shared / "fox.safetensors").write_bytes(DATA)
    with (desk.shared / "fox.yaml").open("wb") as file:
        file.truncate(2 << 20)
    assert "changed" in desk.refusal(desk.shared / "fox.safetensors", beside=".yaml v_prediction")
