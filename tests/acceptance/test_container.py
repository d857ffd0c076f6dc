"""In its container the server draws, is healthy, writes to its volumes alone, and stops without a loss."""

import json
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest

from engine_worker.embedded.shipped import shipped
from tests.acceptance.containers import UID, Container, a_container
from tests.acceptance.patience import PATIENCE_S, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.timeout(2_400)]

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
KERNEL: Final = ("/dev", "/proc", "/sys")
WRITABLE: Final = {"/tmp", "/var/lib/automatic-spoon", "/var/lib/automatic-spoon/models"}


@pytest.fixture(scope="module", params=["namespaces", "image"])
def container(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """A server that runs, with a model in the folder that is mounted for reading."""
    folder = tmp_path_factory.mktemp("container")
    own_models = folder / "own"
    own_models.mkdir()
    shutil.copy(shipped("scenes-sd").path, own_models / "scenes.safetensors")
    for one in (own_models, *own_models.iterdir()):
        one.chmod(0o755)
    with a_container(request.param, folder, own_models) as container:
        container.start()
        wait_until_healthy(container)
        yield container


def wait_until_healthy(container: Container) -> None:
    wait_for("a healthy server", lambda: container.spoon("health").returncode == 0, 2 * PATIENCE_S)


def draw(container: Container, *arguments: str) -> bytes:
    ended = container.spoon("draw", "a large red circle", "--seed", "1", "--out", "-", *arguments)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout


def test_it_draws_with_a_model_of_the_folder_that_is_mounted(container: Container) -> None:
    assert draw(container).startswith(PNG_SIGNATURE)


def test_it_has_no_rights(container: Container) -> None:
    lines = container.run("cat", "/proc/1/status").stdout.decode().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert status["Uid"] == [str(UID)] * 4
    assert (status["CapEff"], status["CapBnd"]) == (["0" * 16], ["0" * 16])
    assert status["NoNewPrivs"] == ["1"]


def test_it_can_write_to_its_volumes_and_temporary_files_alone(container: Container) -> None:
    for place in WRITABLE:
        assert container.run("sh", "-c", f": > {place}/probe && rm {place}/probe").returncode == 0, place
    assert b"Read-only file system" in container.run("sh", "-c", ": > /probe").stderr
    mounts = [line.split() for line in container.run("cat", "/proc/mounts").stdout.decode().splitlines()]
    writable = {place for _, place, _, options, *_ in mounts if "rw" in options.split(",")}
    assert {place for place in writable if not place.startswith(KERNEL)} == WRITABLE


def test_a_stop_waits_for_the_running_job_and_the_next_start_has_its_image(container: Container) -> None:
    submitted = container.spoon(
        "jobs", "submit", "a star", "--steps", "30", "--checkpoint", "scenes", "--json"
    )
    assert submitted.returncode == 0, submitted.stderr.decode()
    job_id = json.loads(submitted.stdout)["job_id"]
    wait_for("the job to begin", lambda: state(container, job_id) == "processing")

    assert container.stop() == 0

    assert "action=draining" in container.log()
    container.start()
    wait_until_healthy(container)
    assert state(container, job_id) == "finished"
    (image_id,) = job(container, job_id)["image_ids"]
    downloaded = container.spoon("images", "download", image_id, "--out", "-")
    assert downloaded.stdout.startswith(PNG_SIGNATURE)


def job(container: Container, job_id: str) -> Any:
    return json.loads(container.spoon("jobs", "show", job_id, "--json").stdout)


def state(container: Container, job_id: str) -> str:
    return str(job(container, job_id)["status"])
