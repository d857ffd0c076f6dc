"""From addresses to paths, and never to anything outside the folders that the owner allowed."""

from collections.abc import Sequence
from pathlib import Path

from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.sources import STORED_SCHEME, is_stored_name, local_path

_NOWHERE = "names no file or folder inside the folders that models may lie in (models.file_roots)"
_NOT_KEPT = "what was kept of this model is not in models.folder any more: put it back, or retry it"
_NO_ROOTS = "is on the server's machine, where models.file_roots names no folder yet that models may lie in"


def resolve(uri: str, roots: Sequence[Path]) -> Path:
    """The file or folder that a `file://` address names, under the name that it bears there; for a `stored:`
    address, what a models folder among the roots keeps under that name, which tells its content.

    What is absent, what lies outside the roots (also by way of a link) and what is neither file nor folder
    get one and the same answer, so that nobody can find out with it what else is on this host.
    Raises: ModelUnreadable.
    """
    path = _stored_path(uri, roots) if uri.startswith(STORED_SCHEME) else local_path(uri)
    found = None if path is None else contained(path, roots)
    if path is None or found is None or not (found.is_file() or found.is_dir()):
        if uri.startswith(STORED_SCHEME):
            raise ModelUnreadable(_NOT_KEPT)
        raise ModelUnreadable(f"{uri} {_NOWHERE if roots else _NO_ROOTS}")
    # The last link is not followed: a download cache links a name that tells the kind to one that does not.
    return path.parent.resolve() / path.name


def contained(path: Path, roots: Sequence[Path]) -> Path | None:
    """Where the path leads with every link followed; None if that is nowhere, or in none of the roots."""
    try:
        real = path.resolve(strict=True)
        return real if any(real.is_relative_to(root.resolve()) for root in roots) else None
    except (OSError, RuntimeError):  # Python 3.11 and 3.12 raise RuntimeError for links in a circle
        return None


def _stored_path(uri: str, roots: Sequence[Path]) -> Path | None:
    name = uri.removeprefix(STORED_SCHEME)
    if not is_stored_name(name):
        return None
    return next((root / name for root in roots if (root / name).exists()), None)
