"""What a stranger at the port can send to make the server deaf or full: each function is one attack.

They are bounded in number and time, speak to an address on this machine alone, and return what was answered:
a status, or None where the connection was closed without one.
"""

import http.client
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image

Address = tuple[str, int]
JSON: Final = "application/json"
FORM: Final = "multipart/form-data; boundary=b"
TIMEOUT_S: Final = 60.0
SIDE_PX: Final = 4_096


@dataclass(frozen=True)
class Answer:
    """What came back: the status, and the code of a problem."""

    status: int | None
    code: str | None = None
    size_bytes: int = 0


def post(address: Address, path: str, body: bytes, content_type: str = JSON) -> Answer:
    """One request of a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type, "Host": "localhost"})
        response = connection.getresponse()
        told = response.read()
    except OSError:
        return Answer(None)
    finally:
        connection.close()
    is_problem = response.getheader("Content-Type") == "application/problem+json"
    return Answer(response.status, json.loads(told)["code"] if is_problem else None, len(told))


def at_once(count: int, do: Callable[[], Answer]) -> list[Answer]:
    """The same from so many clients at once."""
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(do())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def bomb(kind: str = "PNG") -> bytes:
    """A picture of 16 megapixels in a small file."""
    file = BytesIO()
    if kind == "progressive":
        Image.new("RGB", (SIDE_PX, SIDE_PX)).save(file, "JPEG", progressive=True)
    elif kind == "WEBP":
        Image.new("RGB", (SIDE_PX, SIDE_PX)).save(file, "WEBP", lossless=True, method=0)
    else:
        Image.new("RGBA", (SIDE_PX, SIDE_PX)).save(file, kind)
    return file.getvalue()


def job_with(picture: bytes) -> bytes:
    """A job that brings a picture, as JSON."""
    return json.dumps({"engine_id": "e1", "reference_image_blob": b64encode(picture).decode()}).encode()


def small_pictures(address: Address, kind: str = "PNG", count: int = 60) -> list[Answer]:
    """Small files of large pictures, all at once."""
    body = job_with(bomb(kind))
    return at_once(count, lambda: post(address, "/v1/jobs", body))


def large_bodies(address: Address, count: int = 24, size: int = 30 << 20) -> list[Answer]:
    """Jobs of 30 MB, all at once."""
    body = job_with(bytes(size * 3 // 4))
    return at_once(count, lambda: post(address, "/v1/jobs", body))


def equal_names(address: Address, count: int = 64, size: int = 600_000) -> list[Answer]:
    """Objects of one name, again and again."""
    body = b'{"a":1' + b',"a":1' * (size // 6) + b"}"
    return at_once(count, lambda: post(address, "/v1/jobs", body))


def unknown_names(address: Address, count: int = 16, size: int = 1_000_000) -> list[Answer]:
    """Objects of names that nobody knows."""
    body = b"{" + b",".join(b'"n%07d":1' % number for number in range(size // 13)) + b"}"
    return at_once(count, lambda: post(address, "/v1/jobs", body))


def long_heads(address: Address, count: int = 10, size: int = 2 << 20) -> list[Answer]:
    """Uploads that are the head of one part."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"; ' + b"a;" * (size // 2)
    body = head + b"\r\n\r\nx\r\n--b--\r\n"
    return at_once(count, lambda: post(address, "/v1/models/upload", body, FORM))


@contextmanager
def unfinished(address: Address, count: int, size: int, *, is_upload: bool = False) -> Iterator[None]:
    """Bodies of which so much comes and no more, as long as the block runs."""
    path, kind = ("/v1/models/upload", FORM) if is_upload else ("/v1/jobs", JSON)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(address, timeout=TIMEOUT_S))
            with suppress(OSError):  # it was refused while it was sent
                connection.sendall(f"{head}Content-Length: {size + 1}\r\n\r\n".encode() + bytes(size))
        yield


def expecting(address: Address, length: int, path: str = "/v1/jobs", more: str = "") -> bytes:
    """The first line of the answer to a head that waits for "100 Continue"."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nExpect: 100-continue\r\n"
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n{more}\r\n".encode())
        with connection.makefile("rb") as stream:
            return stream.readline().rstrip()
