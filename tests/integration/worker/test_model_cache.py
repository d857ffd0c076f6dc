"""Models that a worker's host lacks come into its cache, whole or not at all, whatever happens on the way."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from engine_worker.model_files.cache import Cache
from engine_worker.model_files.folder_map import parse_mapping
from engine_worker.model_files.local_models import LocalModels
from engine_worker.model_files.transfer import PART_BYTES
from kernel.protocol.errors import BadConfiguration, DiskFull, DownloadFailed, ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.sources import local_path
from kernel.protocol.worker import ModelFiles, ModelPartRefused
from tests.integration.worker.sent_models import Sender, source_of

FILE = bytes(range(256)) * 8_000
"""Eight parts."""


def nothing(*_: object) -> None:
    """For progress that nobody looks at."""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return opened(tmp_path / "cache")


def opened(folder: Path, quota_bytes: int = 10**9) -> Cache:
    cache = Cache(folder, quota_bytes, min_free_bytes=0)
    cache.open()
    return cache


def models(cache: Cache | None, sender: Sender, *roots: Path, maps: tuple[str, ...] = ()) -> LocalModels:
    mappings = tuple(map(parse_mapping, maps))
    folders = (*roots, *(mapping.here for mapping in mappings))
    return LocalModels(folders, mappings, cache, sender.courier)


def brought(cache: Cache, sender: Sender, **fields: object) -> Path:
    found = models(cache, sender).bring(source_of(sender, **fields), nothing)
    path = local_path(found.uri)
    assert path is not None
    return path


def leftovers(cache: Cache) -> list[str]:
    return [path.name for kind in ("files", "trees", "parts") for path in (cache.folder / kind).iterdir()]


def copier(cache: Cache, file: Path, pause_after: int) -> "subprocess.Popen[str]":
    """A worker's process that pauses after so many parts."""
    command = [sys.executable, "-m", "tests.integration.worker.copying_process", str(cache.folder), str(file)]
    process = subprocess.Popen(
        [*command, str(pause_after)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "paused\n"
    return process


def test_a_file_is_copied_once_and_found_afterwards(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    path = brought(cache, sender)
    assert (path.name, path.read_bytes()) == ("model.safetensors", FILE)
    assert sender.offsets == list(range(0, len(FILE), PART_BYTES))
    assert leftovers(cache) == [sender.sha256]

    assert brought(opened(cache.folder), sender) == path
    assert len(sender.offsets) == 8


def test_a_folder_is_copied_with_its_folders_and_checked_by_the_list_of_its_files(cache: Cache) -> None:
    files = {"unet/diffusion.safetensors": FILE, "model_index.json": b"{}", "vae/empty.txt": b""}
    sender = Sender(files, is_folder=True)
    seen: list[int] = []
    models(cache, sender).bring(source_of(sender), seen.append)
    assert (seen, seen[-1]) == (sorted(seen), len(FILE) + 2)
    path = brought(cache, sender)
    assert {name: (path / name).read_bytes() for name in files} == files
    assert {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} == set(files)


def test_the_file_beside_a_model_comes_with_it_and_is_not_mixed_with_one_without(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE, "model.yaml": b"v"})
    with_it = brought(cache, sender, beside=".yaml v_prediction")
    assert with_it.with_suffix(".yaml").read_bytes() == b"v"
    assert with_it.suffix == ".safetensors"
    del sender.files["model.yaml"]
    assert brought(cache, sender, beside="").parent != with_it.parent


def test_a_copy_goes_on_where_a_killed_worker_stopped(cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "fox.safetensors"
    file.write_bytes(FILE)
    process = copier(cache, file, pause_after=6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (part,) = (cache.folder / "parts").glob("*/model.safetensors")
    there_bytes = part.stat().st_size
    assert 0 < there_bytes < len(FILE)

    sender = Sender({"model.safetensors": FILE})
    assert brought(cache, sender).read_bytes() == FILE
    assert sender.offsets[0] == there_bytes


def test_a_worker_waits_while_another_one_copies_the_same_model(cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "fox.safetensors"
    file.write_bytes(FILE)
    process = copier(cache, file, pause_after=3)
    sender = Sender({"model.safetensors": FILE})
    seen: list[int] = []
    waits: list[float] = []

    def let_it_go_on(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            process.communicate("go on\n")

    waiting = LocalModels((), (), cache, sender.courier, sleep=let_it_go_on)
    found = waiting.bring(source_of(sender), seen.append)
    assert local_path(found.uri) == cache.folder / "files" / sender.sha256 / "model.safetensors"
    assert (len(waits), sender.lists) == (3, 0)
    assert len(seen) == 1, "it tells how far the other one is, when that has changed"


def test_a_worker_takes_over_from_one_that_died_while_it_waited(cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "fox.safetensors"
    file.write_bytes(FILE)
    process = copier(cache, file, pause_after=7)
    sender = Sender({"model.safetensors": FILE})

    def kill(seconds: float) -> None:
        process.kill()
        process.communicate()

    assert cache.find(sender.sha256) is None
    waiting = LocalModels((), (), cache, sender.courier, sleep=kill)
    waiting.bring(source_of(sender), nothing)
    assert sender.offsets[0] > 0


def test_wrong_content_is_copied_anew_once(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    sender.spoils = 1
    assert brought(cache, sender).read_bytes() == FILE
    assert len(sender.offsets) == 16


def test_wrong_content_twice_is_an_error_that_leaves_nothing(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    sender.spoils = 9
    with pytest.raises(DownloadFailed, match="spoon models retry"):
        brought(cache, sender)
    assert sender.lists == 2
    assert not leftovers(cache)


def test_what_another_content_left_behind_is_not_kept(cache: Cache) -> None:
    """Such as a part that a power cut has left longer than its bytes, or with other bytes."""
    sender = Sender({"model.safetensors": FILE})
    for stale in (b"x" * 5_000, FILE + b"more"):
        (cache.part_folder(sender.sha256) / "model.safetensors").write_bytes(stale)
        path = brought(cache, sender)
        assert path.read_bytes() == FILE
        path.unlink()
        path.parent.rmdir()  # as a person may; then it is copied again


def test_a_refusal_names_the_model_and_the_reason(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    sender.refusal = "no order of this worker names the model"
    with pytest.raises(DownloadFailed, match="fox: no order of this worker"):
        brought(cache, sender)


def test_refusals_of_a_given_up_attempt_do_not_end_the_next_one(cache: Cache) -> None:
    """A job was cancelled while its model came, so several parts were refused; then another one names it."""
    sender = Sender({"model.safetensors": FILE})

    def refuse_the_rest() -> None:
        if len(sender.offsets) == 3:
            sender.refusal = "no order of this worker names the model"

    sender.before_part = refuse_the_rest
    with pytest.raises(DownloadFailed, match="no order"):
        brought(cache, sender)
    sender.refusal, sender.before_part = None, lambda: None
    assert brought(cache, sender).read_bytes() == FILE


@pytest.mark.parametrize(
    "names",
    [
        ("../evil.safetensors",),
        ("/etc/evil.json",),
        ("model.py",),
        (),
        ("other.safetensors",),
        ("model.safetensors", "a/../../b.json"),
    ],
)
def test_names_that_lead_out_of_the_cache_are_refused(cache: Cache, names: tuple[str, ...]) -> None:
    sender = Sender({"model.safetensors": FILE})
    source = source_of(sender)
    sender.files = dict.fromkeys(names, b"x")
    for sender.is_folder in (False, *([True] if any("/" in name for name in names) else [])):
        with pytest.raises(DownloadFailed, match="no proper files"):
            models(cache, sender).bring(source, nothing)
    assert not leftovers(cache)


def test_replies_about_other_models_are_passed_over(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    for model_id, digest in (("m-2", sender.sha256), ("m-1", "0" * 64)):
        known = {"model_id": ModelId(model_id), "sha256": digest}
        sender.courier.take(ModelFiles(files=(), **known), b"")
        sender.courier.take(ModelPartRefused(code="c", text="t", **known), b"")
    assert brought(cache, sender).read_bytes() == FILE


def files_of(count: int) -> list[Sender]:
    return [Sender({"model.safetensors": bytes([n]) * 100_000}) for n in range(count)]


@pytest.mark.parametrize("oldest", range(3))
def test_the_least_recently_used_models_make_room(tmp_path: Path, oldest: int) -> None:
    *known, new = files_of(4)
    cache = opened(tmp_path / "cache", 350_000)
    for number, sender in enumerate(known):
        home = brought(cache, sender).parent
        os.utime(home, (0, 1_000 if number == oldest else 2_000))
    cache.close()
    brought(cache, new)
    kept = {sender.sha256 for sender in known} - {known[oldest].sha256}
    assert set(leftovers(cache)) == kept | {new.sha256}


def test_a_model_that_is_used_again_is_no_longer_the_oldest(tmp_path: Path) -> None:
    first, second, new = files_of(3)
    cache = opened(tmp_path / "cache", 250_000)
    for age_s, sender in ((1_000, first), (2_000, second)):
        os.utime(brought(cache, sender).parent, (0, age_s))
    brought(cache, first)
    cache.close()
    brought(cache, new)
    assert set(leftovers(cache)) == {first.sha256, new.sha256}


def test_a_model_that_is_larger_than_the_cache_removes_nothing(tmp_path: Path) -> None:
    small, _ = files_of(2)
    cache = opened(tmp_path / "cache", 250_000)
    brought(cache, small)
    cache.close()
    with pytest.raises(DiskFull, match="larger --cache-size"):
        brought(cache, Sender({"model.safetensors": b"x" * 250_001}))
    assert small.sha256 in leftovers(cache)


def test_a_model_that_a_worker_uses_makes_no_room(tmp_path: Path) -> None:
    used, free, new, newer = files_of(4)
    user, other = opened(tmp_path / "cache"), opened(tmp_path / "cache", 250_000)
    brought(other, free)
    other.close()
    os.utime(brought(user, used).parent, (0, 0))
    brought(other, new)
    assert set(leftovers(user)) == {used.sha256, new.sha256}
    with pytest.raises(DiskFull, match="--cache-size"):
        brought(other, newer)
    assert set(leftovers(user)) >= {used.sha256, new.sha256}
    assert not list(user.part_folder(newer.sha256).iterdir()), "it claims no room"


def test_parts_of_abandoned_copies_make_room_and_those_of_running_ones_count_in_full(tmp_path: Path) -> None:
    cache = opened(tmp_path / "cache", 250_000)
    (cache.part_folder("a" * 64) / "model.safetensors").write_bytes(b"x" * 200_000)
    (new, newer) = files_of(2)
    brought(cache, new)
    assert leftovers(cache) == [new.sha256]

    other = opened(cache.folder)
    with other.copying("b" * 64):
        other.make_room("b" * 64, 200_000)  # not a byte of it is there yet
        with pytest.raises(DiskFull):
            brought(opened(cache.folder, 250_000), newer)


def test_disk_space_that_must_stay_free_stays_free(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**9, min_free_bytes=1_000, free_bytes=lambda folder: 100_500)
    cache.open()
    (sender,) = files_of(1)
    with pytest.raises(DiskFull, match="500 bytes are lacking"):
        brought(cache, sender)


def test_disk_space_that_another_copy_will_take_is_not_promised_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**9, min_free_bytes=0, free_bytes=lambda folder: 250_000)
    cache.open()
    (sender,) = files_of(1)
    with cache.copying("b" * 64):
        cache.make_room("b" * 64, 200_000)
        with pytest.raises(DiskFull, match="50,000 bytes are lacking"):
            brought(cache, sender)
    brought(cache, sender)


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """No file can grow beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_in_the_middle_is_an_error_and_the_copy_goes_on_later(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    with files_up_to(3 * PART_BYTES), pytest.raises(DiskFull, match="cannot copy fox"):
        brought(cache, sender)
    first = len(sender.offsets)
    assert brought(cache, sender).read_bytes() == FILE
    assert sender.offsets[first] > 0


# What needs no copy.


def test_a_mapped_folder_comes_before_the_cache_if_the_file_has_the_size(
    cache: Cache, tmp_path: Path
) -> None:
    sender = Sender({"model.safetensors": FILE})
    here = tmp_path / "mnt" / "sd"
    here.mkdir(parents=True)
    (here / "fox.safetensors").write_bytes(FILE)
    local = models(cache, sender, maps=(f"/elsewhere={here}", f"/={tmp_path}"))
    found = local.bring(source_of(sender), nothing)
    assert local_path(found.uri) == here / "fox.safetensors"
    assert sender.lists == 0

    (here / "fox.safetensors").write_bytes(FILE[:-1])
    found = local.bring(source_of(sender), nothing)
    assert local_path(found.uri) == cache.folder / "files" / sender.sha256 / "model.safetensors"

    (here / "fox.safetensors").write_bytes(FILE)
    assert local_path(local.bring(source_of(sender), nothing).uri) == here / "fox.safetensors"


def test_a_stored_model_is_found_in_a_shared_models_folder(tmp_path: Path) -> None:
    sender = Sender({"model.safetensors": FILE})
    name = f"files/{sender.sha256}.safetensors"
    (tmp_path / "files").mkdir()
    (tmp_path / name).write_bytes(FILE)
    local = models(None, sender, maps=(f"/srv/spoon/models={tmp_path}",))
    found = local.bring(source_of(sender, uri=f"stored:{name}"), nothing)
    assert local_path(found.uri) == tmp_path / name


def test_a_mapping_never_leads_out_of_its_folder(cache: Cache, tmp_path: Path) -> None:
    sender = Sender({"model.safetensors": FILE})
    (tmp_path / "fox.safetensors").write_bytes(FILE)
    here = tmp_path / "mnt"
    here.mkdir()
    (here / "link.safetensors").symlink_to(tmp_path / "fox.safetensors")
    local = models(cache, sender, maps=(f"/elsewhere={here}",))
    for uri in ("file:///elsewhere/../fox.safetensors", "file:///elsewhere/link.safetensors"):
        assert local.find(source_of(sender, uri=uri)) is None


def test_without_a_cache_the_error_names_the_ways_out() -> None:
    sender = Sender({"model.safetensors": FILE})
    with pytest.raises(ModelUnreadable, match="--cache-folder, or with --map"):
        models(None, sender).bring(source_of(sender), nothing)


def test_a_model_without_a_known_digest_is_copied_once_it_has_one(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    sender.digests_in = 3
    seen: list[int] = []
    local = LocalModels((), (), cache, sender.courier, sleep=lambda seconds: None)
    found = local.bring(source_of(sender, sha256=None), seen.append)
    assert found.sha256 == sender.sha256
    assert local_path(found.uri) == cache.folder / "files" / sender.sha256 / "model.safetensors"
    assert seen[:3] == [0, 0, 0], "it goes on, so nobody takes it for hung"


def test_a_model_without_a_known_digest_that_is_refused_is_an_error(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    sender.refusal = "no order of this worker names the model"
    with pytest.raises(DownloadFailed, match="no order"):
        models(cache, sender).bring(source_of(sender, sha256=None), nothing)


def test_a_digest_that_never_comes_is_an_error(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    sender.digests_in = 10**9
    ticks = iter(range(0, 10**6, 600))
    local = LocalModels(
        (), (), cache, sender.courier, sleep=lambda seconds: None, clock=lambda: float(next(ticks))
    )
    with pytest.raises(DownloadFailed, match="sha256"):
        local.bring(source_of(sender, sha256=None), nothing)


@pytest.mark.parametrize("text", ["/models", "models=/mnt", "/models=mnt", "=", ""])
def test_a_mapping_is_two_absolute_paths(text: str) -> None:
    with pytest.raises(BadConfiguration, match="two absolute paths"):
        parse_mapping(text)


def test_all_models_of_an_order_are_brought_with_one_progress(cache: Cache) -> None:
    sender = Sender({"model.safetensors": FILE})
    other = source_of(sender, model_id="m-2", beside=".yaml v_prediction")
    told: list[tuple[int, int, int | None]] = []
    ticks = iter(range(10_000))
    local = LocalModels((), (), cache, sender.courier, clock=lambda: float(next(ticks)))
    brought = local.bring_all([source_of(sender), other], lambda *moved: told.append(moved))
    assert [found.model_id for found in brought] == ["m-1", "m-2"]
    assert told[0][:2] == (0, 2 * len(FILE))
    assert told[-1][:2] == (2 * len(FILE), 2 * len(FILE))
    assert sha256(Path(local_path(brought[1].uri) or "").read_bytes()).hexdigest() == sender.sha256
