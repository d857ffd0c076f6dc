"""A Manager that sends the files of one model at once, and can be told to go wrong."""

import hashlib
from collections.abc import Callable, Mapping

from engine_worker.model_files.courier import Courier, PartRequest
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.worker import (
    FileOfModel,
    GetModelFiles,
    GetModelPart,
    ModelFiles,
    ModelPart,
    ModelPartRefused,
)

MODEL = ModelId("m-1")


class Sender:
    """Answers a courier's requests in its own thread; `offsets` are those of the parts it was asked for."""

    def __init__(self, files: Mapping[str, bytes], *, is_folder: bool = False) -> None:
        self.files, self.is_folder = dict(files), is_folder
        self.sha256 = sha256_of(files, is_folder=is_folder)
        self.offsets: list[int] = []
        self.lists = 0
        self.before_part: Callable[[], None] = lambda: None
        self.spoils = 0
        """So many lists are followed by a wrong first file."""
        self.refusal: str | None = None
        self.digests_in = 0
        """So many times the digest is not known yet."""
        self.courier = Courier(self._answer)

    def _answer(self, request: PartRequest) -> None:
        known = {"model_id": request.model_id, "sha256": request.sha256}
        if self.refusal is not None:
            file = request.file if isinstance(request, GetModelPart) else None
            refused = ModelPartRefused(file=file, code="not_permitted", text=self.refusal, **known)
            self.courier.take(refused, b"")
        elif isinstance(request, GetModelFiles) and not request.sha256 and self.digests_in:
            self.digests_in -= 1
            self.courier.take(ModelPartRefused(code="model_not_ready", text="soon", **known), b"")
        elif isinstance(request, GetModelFiles):
            self.lists += 1
            known["sha256"] = request.sha256 or self.sha256
            files = tuple(FileOfModel(name=name, size_bytes=len(data)) for name, data in self.files.items())
            self.courier.take(ModelFiles(files=files, is_folder=self.is_folder, **known), b"")
        else:
            self.offsets.append(request.offset)
            self.before_part()
            data = self.files[request.file][request.offset :][: request.size_bytes]
            if self.lists <= self.spoils:
                data = b"\0" * len(data)
            self.courier.take(ModelPart(file=request.file, offset=request.offset, **known), data)


def sha256_of(files: Mapping[str, bytes], *, is_folder: bool = False) -> str:
    """As registration makes it: of the file, or of the list of the files."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    if not is_folder:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{hashes[n]}  {n}\n" for n in sorted(hashes)).encode()).hexdigest()


def source_of(sender: Sender, **fields: object) -> ModelSource:
    """The model as an order names it; its path is on the Manager's host."""
    known: dict[str, object] = {
        "model_id": MODEL,
        "name": "fox",
        "uri": "file:///elsewhere/fox.safetensors",
        "model_type": ModelType.CHECKPOINT,
        "sha256": sender.sha256,
        "size_bytes": sum(map(len, sender.files.values())),
    }
    return ModelSource(**(known | fields))  # type: ignore[arg-type]
