"""Shows an image between the lines of a terminal that can, as its environment tells.

Sources: iTerm2's "Inline Images Protocol", which WezTerm reads, too; kitty's "Terminal graphics protocol",
which Ghostty reads, too. Other terminals, and those inside tmux or screen, show nothing.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

_ITERM: Final = ("iTerm.app", "WezTerm")
_KITTY: Final = ("xterm-kitty", "xterm-ghostty")
_PNG: Final = b"\x89PNG"
_CHUNK: Final = 4096
"""Characters of base64 that kitty takes at once."""


def escape_for(data: bytes, environ: Mapping[str, str]) -> str | None:
    """What to write to the terminal to show this image file; None, if it cannot. kitty takes only PNG."""
    if "TMUX" in environ or "STY" in environ:
        return None
    if environ.get("TERM_PROGRAM") in _ITERM:
        return f"\x1b]1337;File=inline=1;size={len(data)}:{b64encode(data).decode()}\a\n"
    if environ.get("TERM") in _KITTY and data.startswith(_PNG):
        return _kitty(b64encode(data).decode())
    return None


def _kitty(text: str) -> str:
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    return (
        "".join(
            f"\x1b_G{'' if n else 'a=T,f=100,'}m={int(n < len(chunks) - 1)};{chunk}\x1b\\"
            for n, chunk in enumerate(chunks)
        )
        + "\n"
    )
