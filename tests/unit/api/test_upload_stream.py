"""Uploads between the socket and the disk: who hands bytes on never waits, and nothing is left behind."""

import threading
from pathlib import Path

import pytest

from api.http.contract.errors import Malformed
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.upload_stream import BACKLOG_BYTES, UploadStream
from api.http.framework.uploads import Receiver, UploadLimits
from kernel.protocol.errors import SpoonError, TooManyRequests

TYPE = "multipart/form-data; boundary=b"
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    + bytes(2000)
    + b"\r\n--b--\r\n"
)


class SlowReceiver(Receiver):
    """A disk that stands still until it is told to go on."""

    def __init__(self, limits: UploadLimits) -> None:
        super().__init__(limits, TYPE, None)
        self.may_go_on = threading.Event()

    def take(self, data: bytes) -> None:
        self.may_go_on.wait()
        super().take(data)


class BrokenReceiver(Receiver):
    def take(self, data: bytes) -> None:
        raise RuntimeError("a mistake of ours")


@pytest.fixture
def limits(tmp_path: Path) -> UploadLimits:
    (tmp_path / "uploads").mkdir()
    return UploadLimits(tmp_path, 10 << 20, 0)


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


def inflow(receiver: Receiver, woken: threading.Event, slots: ConcurrencyLimit | None = None) -> UploadStream:
    return UploadStream(receiver, slots or ConcurrencyLimit(1), woken.set)


def left(limits: UploadLimits) -> list[Path]:
    return list((limits.models_folder / "uploads").iterdir())


def test_what_was_handed_on_is_on_the_disk_in_the_end(limits: UploadLimits, woken: threading.Event) -> None:
    upload = inflow(Receiver(limits, TYPE, None), woken)
    for at in range(0, len(FORM), 100):
        upload.append(FORM[at : at + 100])
    uploaded = upload.finish()
    upload.close()
    assert (len(upload), uploaded.path.read_bytes(), left(limits)) == (
        len(FORM),
        bytes(2000),
        [uploaded.path],
    )


def test_a_disk_that_stands_still_holds_up_nobody_and_its_backlog_is_bounded(
    limits: UploadLimits, woken: threading.Event
) -> None:
    receiver = SlowReceiver(limits)
    upload = inflow(receiver, woken)
    upload.append(FORM)
    upload.append(bytes(BACKLOG_BYTES))
    upload.append(bytes(BACKLOG_BYTES))
    assert upload.is_full
    assert not woken.is_set()
    receiver.may_go_on.set()
    assert woken.wait(10)
    assert upload.finish().path.stat().st_size == 2000
    assert not upload.is_full


def test_what_is_wrong_is_found_beside_and_told_at_once(limits: UploadLimits, woken: threading.Event) -> None:
    slots = ConcurrencyLimit(1)
    upload = inflow(Receiver(limits, TYPE, None), woken, slots)
    upload.append(b"x" * 20_000)
    assert woken.wait(10)
    assert isinstance(upload.failure, Malformed)
    with pytest.raises(Malformed):
        upload.finish()
    assert (left(limits), slots.taken) == ([], 0)


def test_a_mistake_of_ours_is_a_refusal_too(limits: UploadLimits, woken: threading.Event) -> None:
    upload = inflow(BrokenReceiver(limits, TYPE, None), woken)
    upload.append(FORM)
    assert woken.wait(10)
    with pytest.raises(SpoonError, match="internal server error"):
        upload.finish()


def test_a_client_that_leaves_leaves_nothing(limits: UploadLimits, woken: threading.Event) -> None:
    slots = ConcurrencyLimit(1)
    upload = inflow(Receiver(limits, TYPE, None), woken, slots)
    upload.append(FORM[:1500])
    upload.close()
    upload.join()
    assert (left(limits), slots.taken) == ([], 0)


def test_there_are_only_so_many_at_once(limits: UploadLimits, woken: threading.Event) -> None:
    slots = ConcurrencyLimit(1)
    first = inflow(Receiver(limits, TYPE, None), woken, slots)
    with pytest.raises(TooManyRequests, match="too many uploads"):
        inflow(Receiver(limits, TYPE, None), woken, slots)
    first.close()
    first.join()
    second = inflow(Receiver(limits, TYPE, None), woken, slots)
    second.close()
    second.join()


def test_an_upload_for_which_there_is_no_thread_is_refused_and_holds_no_seat(
    limits: UploadLimits, woken: threading.Event
) -> None:
    slots, usual = ConcurrencyLimit(1), threading.stack_size(1 << 46)  # more than any address space has
    try:
        with pytest.raises(TooManyRequests, match="can't start new thread"):
            inflow(Receiver(limits, TYPE, None), woken, slots)
    finally:
        threading.stack_size(usual)
    assert (left(limits), slots.taken) == ([], 0)


def test_a_refused_upload_can_be_closed_again(limits: UploadLimits, woken: threading.Event) -> None:
    """Python closes every stream that goes, also one whose constructor failed, and 3.13 reports an error."""
    refused = UploadStream.__new__(UploadStream)
    with pytest.raises(TooManyRequests):
        UploadStream.__init__(refused, Receiver(limits, TYPE, None), ConcurrencyLimit(0), woken.set)
    refused.close()
    assert refused.closed
