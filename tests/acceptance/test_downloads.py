"""An image that is deleted after N downloads: exactly N clients get it, however many want it at once."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from kernel.protocol.client import ClaimDownload, Done, DownloadGranted, FinishDownload
from kernel.protocol.enums import GoneReason, JobState
from kernel.protocol.ids import ModelId
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import PLAIN, create_engine, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server

ALLOWED = 5
CLIENTS = 200


def fetch(http: httpx.Client, url: str) -> bytes | None:
    """Download with the patience of a good client. Returns: the file, or None when there is none any more."""

    def try_once() -> httpx.Response | None:
        response = http.get(url)
        return None if response.status_code == 409 else response

    response = wait_for("an answer other than 'all downloads are in progress'", try_once)
    if response.status_code == 200:
        return response.content
    assert response.status_code == 410, response.text
    return None


def test_of_two_hundred_clients_at_once_exactly_as_many_as_allowed_get_the_image_and_then_it_is_gone(
    server_with_api: Server,
) -> None:
    server = server_with_api
    server.configure(images=f"delete_after_downloads = {ALLOWED}")
    server.start()
    accepted = submit(server.line, create_engine(server.line, server.records.model_named(PLAIN)))
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    image = server.records.image(accepted.image_ids[0])
    whole = (server.images / image.file_name).read_bytes()

    # A connection each, closed by the server: one that is kept may be given to a thread and closed by another
    # (httpcore 1.0.9, its issue 1110).
    closing, any_number = {"Connection": "close"}, httpx.Limits(max_connections=None)
    with (
        httpx.Client(timeout=PATIENCE_S, headers=closing, limits=any_number) as http,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        url = f"http://127.0.0.1:{server.port}/v1/images/{image.image_id}/download"
        got = list(clients.map(fetch, [http] * CLIENTS, [url] * CLIENTS))

    assert [data for data in got if data is not None] == [whole] * ALLOWED
    ended = server.records.image(image.image_id)
    assert (ended.downloads, ended.gone_reason) == (ALLOWED, GoneReason.USED_UP)
    file = server.images / image.file_name
    wait_for("the file to be removed", lambda: not file.exists())
    assert_whole(server)


def test_a_right_to_download_that_was_never_used_is_free_again_after_a_restart(
    server: Server, plain: ModelId
) -> None:
    server.configure(images="delete_after_downloads = 1")
    server.start()
    accepted = submit(server.line, create_engine(server.line, plain))
    server.records.wait_for_job(accepted.job_id, JobState.FINISHED)
    claim = ClaimDownload(image_id=accepted.image_ids[0])
    server.line.ask(claim, DownloadGranted)
    assert server.line.refusal(claim) == "image_busy"

    server.kill()
    server.start()

    granted = server.line.ask(claim, DownloadGranted)
    server.line.ask(FinishDownload(image_id=claim.image_id, ticket=granted.ticket, whole=True), Done)
    assert server.line.refusal(claim) == "image_gone"
