"""Many images at once, over real sockets: a zip counts the files that have left, thumbnails count nothing."""

import socket
from io import BytesIO
from zipfile import ZipFile

import httpx

from kernel.protocol.enums import GoneReason, JobState
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import PLAIN, create_engine, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server

LARGE_BYTES = 16 << 20
"""More than the sockets of both sides hold."""


def leave_after_the_beginning(port: int, path: str) -> None:
    """A client that asks for a file, reads a little of it, and goes."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_zip_gives_each_image_as_often_as_it_may_be_downloaded(server_with_api: Server) -> None:
    server = server_with_api
    server.configure(images="delete_after_downloads = 1")
    server.start()
    engine_id = create_engine(server.line, server.records.model_named(PLAIN))
    accepted = submit(server.line, engine_id, count=2)
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    first, second = (server.records.image(image_id) for image_id in accepted.image_ids)
    large = b"x" * LARGE_BYTES
    (server.images / first.file_name).write_bytes(large)
    small = (server.images / second.file_name).read_bytes()
    both = f"/v1/images/zip?image_ids={first.image_id},{second.image_id}"
    thumbnails = server.folder / "data/thumbnails"

    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE_S) as http:
        shown = http.get(f"/v1/images/{second.image_id}/thumbnail")
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
        assert len(list(thumbnails.iterdir())) == 1

        leave_after_the_beginning(server.port, both)

        def whole() -> dict[str, bytes] | None:
            """What is in a zip, once the claim of the client that has left is free."""
            with ZipFile(BytesIO(http.get(both).content)) as zipped:
                assert zipped.testzip() is None
                found = {name: zipped.read(name) for name in zipped.namelist()}
            return found if f"{first.image_id}.png" in found else None

        found = wait_for("the claim to be given back", whole)
        assert found[f"{first.image_id}.png"] == large
        wait_for("the images to be gone", lambda: http.get(both).status_code == 410)
        for image in (first, second):
            ended = server.records.image(image.image_id)
            assert (ended.downloads, ended.gone_reason) == (1, GoneReason.USED_UP)
        assert found.get(f"{second.image_id}.png") == small or "missing.txt" in found
        assert http.get(f"/v1/images/{second.image_id}/thumbnail").status_code == 410
        wait_for("its thumbnail to go", lambda: not any(thumbnails.iterdir()))
        deleted = http.post("/v1/images/delete", json={"image_ids": list(accepted.image_ids)})
        assert deleted.json()["already_gone"] == list(accepted.image_ids)
    assert_whole(server)
