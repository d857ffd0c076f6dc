"""Bodies of multipart/form-data, written by hand: as curl, a browser or a careless program sends them."""

from dataclasses import dataclass

BOUNDARY = "seam"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True)
class Part:
    """One part; with a file name or a type it is a file."""

    name: str
    data: bytes
    file_name: str | None = None
    mime: str | None = None

    def encoded(self) -> bytes:
        disposition = f'form-data; name="{self.name}"'
        if self.file_name is not None:
            disposition += f'; filename="{self.file_name}"'
        lines = [f"Content-Disposition: {disposition}"]
        if self.mime is not None:
            lines.append(f"Content-Type: {self.mime}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.data


def text(name: str, said: str) -> Part:
    return Part(name, said.encode())


def file(name: str, data: bytes, file_name: str = "picture.png", mime: str = "image/png") -> Part:
    return Part(name, data, file_name, mime)


def form(*parts: Part) -> bytes:
    seam = f"--{BOUNDARY}".encode()
    body = b"".join(seam + b"\r\n" + part.encoded() + b"\r\n" for part in parts)
    return body + seam + b"--\r\n"
