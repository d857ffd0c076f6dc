"""Where the command line finds the local server."""

from pathlib import Path

import pytest

from api.cli.context import configured_url, local_url
from conf.settings import Bus, Server, Settings
from kernel.protocol.endpoints import API_URL_FILE

EVERY_ADDRESS = [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")]


@pytest.mark.parametrize(
    ("host", "reached"), [*EVERY_ADDRESS, ("10.0.0.1", "10.0.0.1"), ("fe80::1", "[fe80::1]")]
)
def test_a_server_is_reached_at_the_host_that_it_listens_on(host: str, reached: str) -> None:
    settings = Settings(server=Server(host=host, port=7871))
    assert configured_url(settings) == f"http://{reached}:7871"


@pytest.mark.parametrize(("host", "reached"), EVERY_ADDRESS)
def test_a_server_that_listens_on_every_address_is_reached_on_loopback(
    host: str, reached: str, tmp_path: Path
) -> None:
    """Every address is no address to call, least of all through the proxy of the environment."""
    settings = Settings(bus=Bus(folder=tmp_path), server=Server(host=host, port=7871))
    written = f"http://{f'[{host}]' if ':' in host else host}:7872\n"
    (tmp_path / API_URL_FILE).write_text(written)

    assert local_url(settings) == f"http://{reached}:7872"


def test_without_the_file_of_a_server_the_configuration_says_where_it_would_be(tmp_path: Path) -> None:
    settings = Settings(bus=Bus(folder=tmp_path))
    assert local_url(settings) == "http://127.0.0.1:7870"
