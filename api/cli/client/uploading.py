"""Upload a model's file to a server, which may run on another machine."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

PIECE_BYTES: Final = 1 << 20
Sent = Callable[[int, int], None]
"""Takes the number of bytes sent, and the total."""


class Form:
    """A form (RFC 7578) of some fields and one file, streamed from disk."""

    def __init__(self, fields: Mapping[str, str | tuple[str, ...] | None], file: Path, sent: Sent) -> None:
        """Raises: OSError, if there is no such file."""
        self._boundary = secrets.token_hex(16)
        self._file = file
        self._sent = sent
        self._size_bytes = file.stat().st_size
        self._head = b"".join(self._field(name, value) for name, value in _pairs(fields)) + self._file_head()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request."""
        return {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(len(self._head) + self._size_bytes + len(self._tail)),
        }

    def pieces(self) -> Iterator[bytes]:
        """The body. Raises: OSError, if the file cannot be read."""
        yield self._head
        done = 0
        with self._file.open("rb") as file:
            while done < self._size_bytes:
                piece = file.read(min(PIECE_BYTES, self._size_bytes - done))
                if not piece:
                    raise OSError(f"{self._file} was truncated during the upload")
                done += len(piece)
                yield piece
                self._sent(done, self._size_bytes)
        yield self._tail

    def _field(self, name: str, value: str) -> bytes:
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        return f"{head}{value}\r\n".encode()

    def _file_head(self) -> bytes:
        name = self._file.name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        return f"--{self._boundary}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


def _pairs(fields: Mapping[str, str | tuple[str, ...] | None]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        for one in values:
            yield name, one
