"""A job's files besides its images: inputs and control maps."""

from typing import Final

from kernel.core import actions
from kernel.core.ports import Folder
from kernel.core.state.world import World
from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import BlobKind, ControlType, InputKind
from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import BlobId, JobId
from kernel.protocol.model_refs import InputFile
from kernel.protocol.rows import BlobRow

ENDINGS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
"""The image formats that are stored, and their file extensions."""
SHA256_DIGITS: Final = 64
_MAP: Final = "map_"


def kind_of_input(kind: InputKind) -> BlobKind:
    """The kind of blob that an input image is stored as."""
    return BlobKind(kind.value)


def kind_of_map(control_type: ControlType) -> BlobKind:
    """The kind of blob that a control map is stored as."""
    return BlobKind(_MAP + control_type)


def control_type_of(kind: BlobKind) -> ControlType:
    """The type of a stored control map."""
    return ControlType(kind.removeprefix(_MAP))


def file_name(blob_id: BlobId, mime: str) -> str:
    """A blob's file name in the blobs folder."""
    return f"{blob_id}.{ENDINGS[mime]}"


def check_files(world: World, ask: SubmitJob) -> None:
    """Check that every image which the job names is present, and that it can be stored.

    Raises: InvalidField.
    """
    kinds = ask.request.inputs
    if len(ask.files) != len(kinds):
        raise wrong_field("inputs", f"{len(kinds)} images are named, but {len(ask.files)} are described")
    for kind, file in zip(kinds, ask.files, strict=True):
        _check_file(world, kind, file)


def _check_file(world: World, kind: InputKind, file: InputFile) -> None:
    most = world.limits.max_input_bytes
    if file.mime not in ENDINGS:
        raise wrong_field(kind, f"must be one of {', '.join(ENDINGS)}, not {file.mime}")
    if not 1 <= file.size_bytes <= most:
        raise wrong_field(kind, f"must have 1 to {most} bytes, not {file.size_bytes}")
    if len(file.sha256) != SHA256_DIGITS or set(file.sha256) - set("0123456789abcdef"):
        raise wrong_field(kind, f"sha256 must be {SHA256_DIGITS} lower-case hexadecimal digits")


def rows(
    world: World, job_id: JobId, kinds: tuple[InputKind, ...], files: tuple[tuple[BlobId, InputFile], ...]
) -> tuple[BlobRow, ...]:
    """The rows of a job's input images, which are on the disk."""
    return tuple(
        BlobRow(
            blob_id=blob_id,
            job_id=job_id,
            kind=kind_of_input(kind),
            file_name=file_name(blob_id, file.mime),
            mime=file.mime,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            created_at_ms=world.now.unix_ms,
        )
        for kind, (blob_id, file) in zip(kinds, files, strict=True)
    )


def trash(world: World, blob_id: BlobId, mime: str) -> None:
    """Move a blob's file, which is not needed, to the trash."""
    name = file_name(blob_id, mime)
    world.act(actions.TrashFile(Folder.BLOBS, name, world.now.unix_ms))
