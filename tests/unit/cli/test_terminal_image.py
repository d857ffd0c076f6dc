"""Images in the terminals that can show them."""

import re
from base64 import b64decode

import pytest

from api.cli.client.terminal_image import escape_for

PNG = b"\x89PNG" + bytes(range(256)) * 40


def test_iterm_gets_the_file_in_one_piece() -> None:
    shown = escape_for(b"\xff\xd8jpeg", {"TERM_PROGRAM": "iTerm.app", "TERM": "xterm-256color"})
    assert shown == "\x1b]1337;File=inline=1;size=6:/9hqcGVn\a\n"


def test_kitty_gets_the_file_in_chunks_of_which_all_but_the_last_announce_more() -> None:
    shown = escape_for(PNG, {"TERM": "xterm-kitty"})
    assert shown is not None
    pieces = re.findall("\x1b_G(.*?);(.*?)\x1b\\\\", shown)
    assert [keys for keys, _ in pieces] == ["a=T,f=100,m=1", "m=1", "m=1", "m=0"]
    assert all(len(text) <= 4096 for _, text in pieces)
    assert b64decode("".join(text for _, text in pieces)) == PNG


@pytest.mark.parametrize(
    ("data", "environ"),
    [
        (PNG, {}),
        (PNG, {"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}),
        (PNG, {"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}),
        (b"\xff\xd8jpeg", {"TERM": "xterm-kitty"}),
    ],
    ids=["unknown", "plain", "tmux", "jpeg in kitty"],
)
def test_others_get_nothing(data: bytes, environ: dict[str, str]) -> None:
    assert escape_for(data, environ) is None
