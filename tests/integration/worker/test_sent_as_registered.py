"""What the Manager's host sends, the worker's host checks by the digest that registration made of it."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from engine_worker.fetch.digest import Digest, digest_file, digest_files
from engine_worker.formats.allowed_paths import opened
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.model_files.cache import Cache
from engine_worker.model_files.courier import Courier, PartRequest
from engine_worker.model_files.local_models import LocalModels
from kernel.core.actions import ReadModelPart
from kernel.core.events import ModelFilesListed, ModelPartNotRead, WantedPart
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.ids import ModelId, WorkerId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import local_path
from kernel.protocol.worker import GetModelPart, ModelFiles, ModelPart, ModelPartRefused
from kernel.shell.model_parts import PartOutcome, PartRead, PartReader


class Hosts:
    """A reader on one host and a cache on the other, with nothing between them."""

    def __init__(self, folder: Path) -> None:
        self.there, self.here = folder / "there", Cache(folder / "here", 10**9, min_free_bytes=0)
        self.there.mkdir()
        self.here.open()
        self.source = ModelSource(
            model_id=ModelId("m"), name="fox", uri="", model_type=ModelType.CHECKPOINT, beside=""
        )
        self._outcomes: SimpleQueue[PartOutcome | BaseException] = SimpleQueue()
        self.reader = PartReader(None, (self.there,), self._outcomes.put)
        self._courier = Courier(self._carry)

    def _carry(self, request: PartRequest) -> None:
        part = WantedPart(WorkerId("w"), request.model_id, request.sha256)
        if isinstance(request, GetModelPart):
            place = (request.file, request.offset, request.size_bytes)
            part = WantedPart(WorkerId("w"), request.model_id, request.sha256, *place)
        self.reader.read(ReadModelPart(part, self.source))
        known = {"model_id": part.model_id, "sha256": part.sha256}
        match self._outcomes.get(timeout=20):
            case ModelFilesListed(files=files, is_folder=is_folder):
                self._courier.take(ModelFiles(files=files, is_folder=is_folder, **known), b"")
            case PartRead(data=data):
                sent = ModelPart(file=part.file or "", offset=part.offset, **known)
                self._courier.take(sent, data)
            case ModelPartNotRead(reason=reason):
                refused = ModelPartRefused(file=part.file, code="download_failed", text=reason, **known)
                self._courier.take(refused, b"")
            case surprise:
                raise AssertionError(surprise)

    def copy(self, path: Path, digest: Digest, beside: str = "") -> Path:
        """Bring a model that was registered with this digest to the other host."""
        self.source = ModelSource(
            model_id=ModelId("m"),
            name="fox",
            uri=path.as_uri(),
            model_type=ModelType.CHECKPOINT,
            sha256=digest.sha256,
            size_bytes=digest.size_bytes,
            beside=beside,
        )
        found = LocalModels((), (), self.here, self._courier).bring(self.source, lambda copied_bytes: None)
        copied = local_path(found.uri)
        assert copied is not None
        assert copied.is_relative_to(self.here.folder)
        return copied


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    yield hosts
    hosts.reader.close()


def nothing(*_: object) -> None:
    """For progress that nobody looks at."""


def written_folder(folder: Path) -> dict[str, bytes]:
    """The files of a model, among others that do not belong to it."""
    model = {
        "model_index.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors": b"u" * 1_000_000,
        "text_encoder/model.safetensors": b"t" * 10,
        "text_encoder_2/model.safetensors": b"",
        "tokenizer/merges.txt": b"a b",
        "A upper.json": b"[]",
    }
    others = {"readme.md": b"#", ".cache/x.json": b"{}", "unet/old.bin": b"\x80"}
    for name, data in (model | others).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return model


def test_a_folder_arrives_with_the_digest_of_its_registration(hosts: Hosts) -> None:
    model = written_folder(hosts.there / "fox")
    held = ModelFolder(hosts.there / "fox", (hosts.there,)).model_files()
    copied = hosts.copy(hosts.there / "fox", digest_files(held, nothing, {}))
    assert {
        file.relative_to(copied).as_posix(): file.read_bytes() for file in copied.rglob("*") if file.is_file()
    } == model


def test_a_folder_whose_file_was_changed_does_not(hosts: Hosts) -> None:
    written_folder(hosts.there / "fox")
    held = ModelFolder(hosts.there / "fox", (hosts.there,)).model_files()
    digest = digest_files(held, nothing, {})
    (hosts.there / "fox/tokenizer/merges.txt").write_bytes(b"a c")
    with pytest.raises(DownloadFailed, match="its sha256 differs"):
        hosts.copy(hosts.there / "fox", digest)
    (hosts.there / "fox/tokenizer/merges.txt").write_bytes(b"a longer one")
    with pytest.raises(DownloadFailed, match="changed"):
        hosts.copy(hosts.there / "fox", digest)


def test_a_file_arrives_with_what_lies_beside_it(hosts: Hosts) -> None:
    file = hosts.there / "fox.safetensors"
    file.write_bytes(b"f" * 600_000)
    file.with_suffix(".yaml").write_bytes(b"parameterization: v")
    copied = hosts.copy(file, digest_file(opened(file), nothing), ".yaml v_prediction")
    assert copied.read_bytes() == file.read_bytes()
    assert copied.with_suffix(".yaml").read_bytes() == b"parameterization: v"
