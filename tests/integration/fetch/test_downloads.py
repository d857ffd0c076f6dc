"""Downloading from servers of every kind: each case its outcome, and nothing left behind in vain."""

import gzip
import threading
import time
from pathlib import Path

import pytest

from engine_worker.fetch.net.http_client import Patience
from engine_worker.fetch.sources import partial_file as parts
from engine_worker.fetch.sources.partial_file import PartialFile
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import DiskFull, DownloadFailed, ModelUnreadable
from tests.integration.fetch.bench import Bench, model_bytes, sha256
from tests.integration.fetch.internet import PUBLIC
from tests.integration.fetch.site import Handler, breaking, etag_of, file, in_turn, redirect

URL = "http://example.org/dreams"


def test_a_model_is_downloaded_inspected_and_named_by_its_content(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    bench.site.scripts["/dreams"] = file(data)
    found = bench.fetch(URL)
    assert found.stored == f"files/{sha256(data)}.safetensors"
    assert found.fingerprint.model_base is ModelBase.SD
    assert (found.fingerprint.sha256, found.fingerprint.size_bytes) == (sha256(data), len(data))
    assert (bench.staging / "ready").read_bytes() == data
    assert bench.on_progress[-1][:2] == (len(data), len(data))


def test_the_server_is_asked_for_the_plain_file_and_told_no_more_than_needed(
    bench: Bench, tmp_path: Path
) -> None:
    bench.site.scripts["/dreams"] = file(model_bytes(tmp_path))
    bench.fetch(f"{URL}?version=2#part")
    (asked,) = bench.site.asked
    assert asked.path == "/dreams?version=2"
    assert asked.headers == {
        "host": "example.org",
        "user-agent": "automatic-spoon",
        "accept-encoding": "identity",
    }


def test_a_broken_line_is_taken_up_where_it_broke(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=300_000)
    bench.site.scripts["/dreams"] = breaking(data, after=100_000)
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    first, second = bench.site.asked
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=100000-"
    assert second.headers["if-range"] == etag_of(data)
    assert bench.pauses == [1.0]


def test_a_name_that_is_unknown_while_the_line_is_down_is_asked_again(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=300_000)
    bench.names.known["example.org"] = [(PUBLIC,), (), (PUBLIC,)]
    bench.site.scripts["/dreams"] = breaking(data, after=100_000)
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert bench.pauses == [1.0, 2.0]


def test_a_download_that_a_dead_worker_began_is_taken_up_by_the_next(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=300_000)
    bench.staging.mkdir(parents=True)
    with PartialFile(bench.staging / "part") as part:
        part.begin(etag_of(data))
        part.append(data[:200_000])
    with (bench.staging / "part").open("ab") as torn:
        torn.write(b"what was not durable yet when the power went")
    bench.site.scripts["/dreams"] = file(data)
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert bench.site.asked[0].headers["range"] == "bytes=200000-"


def test_a_whole_download_that_was_not_inspected_yet_is_not_sent_again(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    bench.staging.mkdir(parents=True)
    with PartialFile(bench.staging / "part") as part:
        part.begin(etag_of(data))
        part.append(data)
    bench.site.scripts["/dreams"] = file(data)
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert len(bench.site.asked) == 1


def test_a_file_that_was_changed_between_two_requests_starts_anew(bench: Bench, tmp_path: Path) -> None:
    old, new = model_bytes(tmp_path, padding=300_000), model_bytes(tmp_path, padding=200_000)
    bench.site.scripts["/dreams"] = in_turn(breaking(old, after=100_000), file(new))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(new)


def test_a_server_that_ignores_if_range_cannot_mix_two_files(bench: Bench, tmp_path: Path) -> None:
    old, new = model_bytes(tmp_path, padding=300_000), model_bytes(tmp_path, padding=400_000)

    def careless(handler: Handler) -> None:
        span = f"bytes 100000-{len(new) - 1}/{len(new)}"
        headers = {"Content-Range": span, "ETag": etag_of(new), "Content-Length": str(len(new) - 100_000)}
        handler.answer(206, headers, new[100_000:])

    bench.site.scripts["/dreams"] = in_turn(breaking(old, after=100_000), careless, file(new))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(new)


def test_a_wrong_range_is_not_taken_for_the_right_one(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=300_000)

    def shifted(handler: Handler) -> None:
        headers = {"Content-Range": f"bytes 0-9/{len(data)}", "ETag": etag_of(data), "Content-Length": "10"}
        handler.answer(206, headers, data[:10])

    bench.site.scripts["/dreams"] = in_turn(breaking(data, after=100_000), shifted, file(data))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)


@pytest.mark.parametrize("is_strong", [True, False])
def test_only_a_strong_etag_promises_the_same_bytes(bench: Bench, tmp_path: Path, is_strong: bool) -> None:
    data = model_bytes(tmp_path, padding=300_000)

    def break_off(handler: Handler) -> None:
        etag = etag_of(data) if is_strong else f"W/{etag_of(data)}"
        handler.answer(200, {"Content-Length": str(len(data)), "ETag": etag}, data[:100_000])
        handler.break_off()

    bench.site.scripts["/dreams"] = in_turn(break_off, file(data, is_strong=is_strong))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert ("range" in bench.site.asked[1].headers) is is_strong


def test_a_server_that_always_breaks_off_is_given_up_and_what_came_is_kept(
    bench: Bench, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path, padding=300_000)

    def break_off(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(data)), "ETag": etag_of(data)}, data[:1000])
        handler.break_off()

    bench.site.scripts["/dreams"] = break_off
    with pytest.raises(DownloadFailed, match=r"broke.*1000 bytes are kept for a retry"):
        bench.fetch(URL)
    assert len(bench.site.asked) == 5
    assert bench.pauses == [1.0, 2.0, 4.0, 8.0]
    assert (bench.staging / "part").stat().st_size == 1000
    bench.site.scripts["/dreams"] = file(data)
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert bench.site.asked[-1].headers["range"] == "bytes=1000-"


def test_a_server_that_stalls_is_left(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    is_over = threading.Event()

    def stall(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(data)), "ETag": etag_of(data)}, data[:10])
        stalled_to_the_end.append(is_over.wait(60.0))
        handler.break_off()

    stalled_to_the_end: list[bool] = []
    bench.site.scripts["/dreams"] = in_turn(stall, file(data))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert not stalled_to_the_end, "the first connection was still open when the second brought the file"
    is_over.set()


def test_a_server_that_drips_is_left_though_it_never_stalls(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=100_000)

    def drip(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(data)), "ETag": etag_of(data)})
        for byte in data[:1000]:  # for 20 s, if nobody hangs up
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
        dripped_to_the_end.append(True)

    bench.patience = Patience(connect_s=2.0, stall_s=1.0, slow_after_s=0.2, slowest_bytes_per_s=1000)
    dripped_to_the_end: list[bool] = []
    bench.site.scripts["/dreams"] = in_turn(drip, file(data))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert not dripped_to_the_end


def test_a_server_that_sends_more_than_it_announced_is_not_believed(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)

    def lie(handler: Handler) -> None:
        span = f"bytes 10-{len(data) - 1}/{len(data)}"
        headers = {"Content-Range": span, "ETag": etag_of(data), "Content-Length": str(len(data))}
        handler.answer(206, headers, data[10:] + b"0123456789")

    bench.site.scripts["/dreams"] = in_turn(breaking(data, after=10), lie)
    with pytest.raises(DownloadFailed, match="more than the"):
        bench.fetch(URL)
    assert bench.left_behind() == []


def test_a_server_that_ends_before_what_it_announced_is_asked_for_the_rest(
    bench: Bench, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path)

    def end_early(handler: Handler) -> None:
        span = f"bytes 10-{len(data) - 1}/{len(data)}"
        handler.answer(
            206, {"Content-Range": span, "ETag": etag_of(data), "Content-Length": "50"}, data[10:60]
        )

    bench.site.scripts["/dreams"] = in_turn(breaking(data, after=10), end_early, file(data))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    assert bench.site.asked[-1].headers["range"] == "bytes=60-"


def test_a_model_beyond_the_limit_is_refused_before_it_comes(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=300_000)
    bench.max_bytes = 200_000
    bench.site.scripts["/dreams"] = file(data)
    with pytest.raises(DownloadFailed, match=r"models\.max_size"):
        bench.fetch(URL)
    assert bench.left_behind() == []


def test_a_server_that_hides_the_length_cannot_go_beyond_the_limit(bench: Bench) -> None:
    sent = []

    def endless(handler: Handler) -> None:
        handler.answer(200, {"Transfer-Encoding": "chunked"})
        for _ in range(1000):
            handler.wfile.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            sent.append(65_536)

    bench.max_bytes = 1_000_000
    bench.site.scripts["/dreams"] = endless
    with pytest.raises(DownloadFailed, match=r"models\.max_size"):
        bench.fetch(URL)
    assert sum(sent) < 20_000_000
    assert bench.left_behind() == []


def test_a_compressed_answer_is_refused_unread(bench: Bench) -> None:
    bomb = gzip.compress(bytes(50_000_000))

    def explode(handler: Handler) -> None:
        handler.answer(200, {"Content-Encoding": "gzip", "Content-Length": str(len(bomb))}, bomb)

    bench.site.scripts["/dreams"] = explode
    with pytest.raises(DownloadFailed, match="compressed"):
        bench.fetch(URL)
    assert bench.left_behind() == []


def test_a_full_disk_is_said_before_anything_comes(bench: Bench, tmp_path: Path) -> None:
    bench.site.scripts["/dreams"] = file(model_bytes(tmp_path, padding=300_000))
    bench.min_free_bytes, bench.free_bytes = 1000, 200_000
    with pytest.raises(DiskFull, match="free some space"):
        bench.fetch(URL)
    assert bench.left_behind() == []


def test_a_disk_that_fills_up_meanwhile_ends_the_download_and_keeps_what_came(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model_bytes(tmp_path, padding=3_000_000)
    monkeypatch.setattr("engine_worker.fetch.sources.transfer.LOOK_AT_DISK_BYTES", 1 << 20)
    bench.min_free_bytes, bench.free_bytes_later = 1000, 0
    bench.site.scripts["/dreams"] = file(data)
    with pytest.raises(DiskFull):
        bench.fetch(URL)
    assert 1 << 20 <= (bench.staging / "part").stat().st_size < len(data)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(404, "has no such file"), (401, r"models\.tokens"), (403, r"models\.tokens"), (418, "status 418")],
)
def test_what_the_server_says_is_said_in_words(bench: Bench, status: int, sentence: str) -> None:
    bench.site.scripts["/dreams"] = lambda handler: handler.answer(status, {"Content-Length": "0"})
    with pytest.raises(DownloadFailed, match=sentence):
        bench.fetch(URL)
    assert len(bench.site.asked) == 1
    assert bench.left_behind() == []


def test_a_server_that_is_busy_is_asked_again(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    busy = lambda handler: handler.answer(503, {"Content-Length": "0"})  # noqa: E731
    bench.site.scripts["/dreams"] = in_turn(busy, busy, file(data))
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)


def test_a_web_page_is_no_model_and_is_recognized_at_once(bench: Bench) -> None:
    page = b"<!DOCTYPE html><html><body>please log in" + bytes(3_000_000)
    bench.site.scripts["/dreams"] = file(page)
    with pytest.raises(DownloadFailed, match="web page"):
        bench.fetch(URL)
    assert bench.left_behind() == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GGUF" + bytes(100), "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"PK\x03\x04" + bytes(100), "pickle"),
        (b"\x80\x04\x95" + bytes(100), "pickle"),
        (b"\x1f\x8b" + bytes(100), "gzip"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{}", "not a model file"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "contains no tensors: fetch it again"),
    ],
)
def test_what_is_no_model_is_named_and_not_kept(bench: Bench, data: bytes, sentence: str) -> None:
    bench.site.scripts["/dreams"] = file(data)
    with pytest.raises(ModelUnreadable, match=sentence):
        bench.fetch(URL)
    assert bench.left_behind() == []


def test_an_empty_file_is_no_model(bench: Bench) -> None:
    bench.site.scripts["/dreams"] = file(b"")
    with pytest.raises(DownloadFailed, match="empty"):
        bench.fetch(URL)
    assert bench.left_behind() == []


def test_another_digest_than_the_declared_one_is_an_error(bench: Bench, tmp_path: Path) -> None:
    bench.site.scripts["/dreams"] = file(model_bytes(tmp_path))
    with pytest.raises(DownloadFailed, match="was declared"):
        bench.fetch(URL, sha256="0" * 64)
    assert bench.left_behind() == []


def test_what_is_kept_already_is_not_downloaded_again(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    (bench.models / f"files/{sha256(data)}.safetensors").write_bytes(data)
    found = bench.fetch(URL, sha256=sha256(data).upper())
    assert found.stored == f"files/{sha256(data)}.safetensors"
    assert bench.site.asked == []


def test_a_model_whose_worker_died_at_the_last_moment_is_found_whole(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    bench.site.scripts["/dreams"] = file(data)
    bench.fetch(URL)
    assert bench.fetch(URL).stored == f"files/{sha256(data)}.safetensors"
    assert len(bench.site.asked) == 1


def test_progress_tells_bytes_total_and_speed(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path, padding=300_000)

    def in_two(handler: Handler) -> None:
        handler.answer(200, {"Content-Length": str(len(data))}, data[:150_000])
        time.sleep(0.3)
        handler.wfile.write(data[150_000:])

    bench.patience = Patience()
    bench.site.scripts["/dreams"] = in_two
    bench.fetch(URL)
    assert bench.on_progress[0][1] == len(data)
    assert [done for done, _, _ in bench.on_progress] == sorted(done for done, _, _ in bench.on_progress)
    assert any(speed for _, _, speed in bench.on_progress)


def test_redirects_are_followed_but_not_for_ever(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    bench.site.scripts |= {
        "/dreams": redirect("/second", 307),
        "/second": redirect("http://other.org/third", 301),
        "/third": file(data),
    }
    assert bench.fetch(URL).fingerprint.sha256 == sha256(data)
    bench.site.scripts["/third"] = redirect("/dreams")
    bench.staging.joinpath("ready").unlink()
    bench.site.asked.clear()
    with pytest.raises(DownloadFailed, match="redirects too many times"):
        bench.fetch(URL)
    assert len(bench.site.asked) == 6


def test_what_was_durable_is_what_is_believed_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with PartialFile(path) as part:
        part.begin('"etag"')
        part.append(b"x" * 100)
        part.checkpoint()
    with path.open("ab") as torn:
        torn.write(b"y" * 50)
    with PartialFile(path) as part:
        assert (part.size_bytes, part.etag) == (100, '"etag"')
    path.with_name("part.mark").write_text("no mark at all")
    with PartialFile(path) as part:
        assert (part.size_bytes, part.etag) == (0, None)


def test_a_part_is_made_durable_every_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CHECKPOINT_BYTES", 1000)
    part = PartialFile(tmp_path / "part")
    part.begin('"etag"')
    for _ in range(25):
        part.append(bytes(100))
    with PartialFile(tmp_path / "part") as again:
        assert again.size_bytes == 2000
