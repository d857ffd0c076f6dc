"""Asks the Manager for files, and takes what it sends: the blocking side of a transfer.

One thread uses it at a time: the main thread while an engine loads, that of the jobs' files afterwards. The
socket's thread hands over what has come.
"""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from engine_worker.model_files.transfer import ASK_AGAIN_S, GIVE_UP_S, Transfer
from kernel.protocol.errors import DownloadFailed, ModelNotReady
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.worker import (
    FileOfModel,
    GetModelFiles,
    GetModelPart,
    ModelFiles,
    ModelPart,
    ModelPartRefused,
)

PartReply = ModelFiles | ModelPart | ModelPartRefused
PartRequest = GetModelFiles | GetModelPart
_SILENT: Final = "the Manager has sent nothing of the model for ten minutes"


class Sink(Protocol):
    """A file that grows."""

    @property
    def size_bytes(self) -> int: ...

    def append(self, data: bytes) -> None:
        """Raises: OSError."""


class Courier:
    """Gets the files of one model after the other."""

    def __init__(
        self, ask: Callable[[PartRequest], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._replies: SimpleQueue[tuple[PartReply, bytes]] = SimpleQueue()

    def take(self, reply: PartReply, blob: bytes) -> None:
        """The Manager has sent this; called by the socket's thread."""
        self._replies.put((reply, blob))

    def files_of(self, source: ModelSource) -> ModelFiles:
        """The files that the model has. Raises: DownloadFailed.

        Replies come in the order of the requests, so after this one none to an earlier attempt comes.
        """
        sha256 = source.sha256 or ""
        give_up_at = self._clock() + GIVE_UP_S
        while self._clock() < give_up_at:
            self._ask(GetModelFiles(model_id=source.model_id, sha256=sha256))
            until = self._clock() + ASK_AGAIN_S
            while (came := self._next(source, None, until)) is not None:
                if isinstance(came[0], ModelFiles):
                    return came[0]
        raise DownloadFailed(_SILENT)

    def sha256_of(self, source: ModelSource) -> str | None:
        """The digest of a model whose order said none; None, if the Manager does not know it yet.

        Raises: DownloadFailed.
        """
        self._ask(GetModelFiles(model_id=source.model_id, sha256=""))
        until = self._clock() + ASK_AGAIN_S
        while (came := self._take(until)) is not None:
            match came[0]:
                case ModelFiles(model_id=source.model_id, sha256=sha256):
                    return sha256
                case ModelPartRefused(model_id=source.model_id, sha256="", code=ModelNotReady.code):
                    return None
                case ModelPartRefused(model_id=source.model_id, sha256="", text=text):
                    raise DownloadFailed(f"the Manager does not send {source.name}: {text}")
                case _:
                    pass  # an answer to an earlier question
        return None

    def copy(self, source: ModelSource, file: FileOfModel, sink: Sink, moved: Callable[[int], None]) -> None:
        """Append what is lacking of a file. `moved` takes the bytes of it that are there.

        Raises: DownloadFailed; OSError of the sink.
        """
        transfer = Transfer(file.size_bytes, sink.size_bytes, self._clock())
        while not transfer.is_complete:
            if transfer.is_given_up(self._clock()):
                raise DownloadFailed(_SILENT)
            for ask in transfer.asks(self._clock()):
                request = GetModelPart(
                    model_id=source.model_id,
                    sha256=source.sha256 or "",
                    file=file.name,
                    offset=ask.offset,
                    size_bytes=ask.size_bytes,
                )
                self._ask(request)
            came = self._next(source, file.name, transfer.next_deadline())
            if came is not None and isinstance(came[0], ModelPart) and came[0].file == file.name:
                for data in transfer.arrived(came[0].offset, came[1], self._clock()):
                    sink.append(data)
                moved(transfer.done_bytes)

    def _next(self, source: ModelSource, file: str | None, until: float) -> tuple[PartReply, bytes] | None:
        """The next reply about this model; None, if there is none by then.

        Raises: DownloadFailed, if the Manager refuses this file, or the list of them.
        """
        while (came := self._take(until)) is not None:
            reply, _ = came
            if (reply.model_id, reply.sha256) != (source.model_id, source.sha256):
                continue  # an answer to an earlier question
            if isinstance(reply, ModelPartRefused) and reply.file != file:
                continue  # of an attempt that was given up
            if isinstance(reply, ModelPartRefused):
                raise DownloadFailed(f"the Manager does not send {source.name}: {reply.text}")
            return came
        return None

    def _take(self, until: float) -> tuple[PartReply, bytes] | None:
        try:
            return self._replies.get(timeout=max(0.0, until - self._clock()))
        except Empty:
            return None
