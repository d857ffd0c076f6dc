"""PyTorch's index is taken if it answers."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from conf.environments.build import index_for
from conf.environments.sets import Pins

WORKER = frozenset({"worker", "cpu"})


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def test_an_index_is_asked_for_torch_and_taken_if_it_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cpu" / "torch").mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        there, absent = (index_for(WORKER, [Pins.CPU], f"{base}/{name}", {}) for name in ("cpu/", "none"))
        server.shutdown()
        thread.join()
    assert (there, absent) == (f"{base}/cpu/", None)
    assert "(File not found)" in capsys.readouterr().out
