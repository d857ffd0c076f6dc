"""The ticket that a worker joins with."""

import pytest

from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import WorkerId
from kernel.protocol.join import Join, read_join, write_join

JOIN = Join(
    role=WorkerRole.ENGINE,
    worker_id=WorkerId("w1-1"),
    endpoint="tcp://192.0.2.1:7871",
    server_public_key="server",
    public_key="public",
    secret_key="TOP-SECRET",
    token="TOKEN",
    file_roots=("/models",),
    detectors_folder="/detectors",
    manager_pid=1,
)


def test_ticket_survives_the_way():
    assert read_join(write_join(JOIN)) == JOIN


def test_printed_ticket_shows_no_secret():
    assert "TOP-SECRET" not in repr(JOIN)
    assert "TOKEN" not in repr(JOIN)
    assert "w1-1" in f"{JOIN}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TOP-SECRET",
        b"{}",
        b'{"role": "TOP-SECRET"}',
        b'{"token": "TOP-SECRET", "worker_id": "\xff"}',
        b'{"unknown": ' + b"[" * 100_000,
    ],
    ids=["empty", "words", "nothing in it", "wrong value", "not utf-8", "deep"],
)
def test_what_is_no_ticket_is_refused_without_quoting_it(data):
    with pytest.raises(BadConfiguration) as caught:
        read_join(data)
    assert "TOP-SECRET" not in str(caught.value)
