"""The user's folders while tests run: temporary ones, never those of the person who runs the tests.

`own_folders` is entered before anything else (tests/conftest.py), and child processes inherit it. A process
whose environment a test makes from nothing gets `variables()`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from platformdirs import user_cache_path

from conf.installation import user_file

VARIABLES: Final = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")


def variables() -> dict[str, str]:
    """What a process needs in its environment to stay in the folders of the tests."""
    return {name: os.environ[name] for name in VARIABLES}


def user_in(folder: Path) -> dict[str, str]:
    """The same for another user, whose folders are below this one. Its path must be short, as for sockets."""
    return {name: str(folder / name.split("_")[1].lower()) for name in VARIABLES}


@contextmanager
def own_folders() -> Iterator[None]:
    """Give this process and its children folders of their own, with a configuration file without settings: it
    is found before that of a server on this machine."""
    theirs, their_caches = user_file().parent, user_cache_path()
    before = dict(os.environ)
    with TemporaryDirectory(prefix="spoon-user-") as name:
        os.environ.update(user_in(Path(name)))
        user_file().parent.mkdir(parents=True)
        user_file().touch()
        _keep_others(theirs, user_file().parents[1])
        user_cache_path().mkdir()
        _keep_others(their_caches / theirs.name, user_cache_path())
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _keep_others(theirs: Path, folder: Path) -> None:
    """Other programs that tests run, such as pip, keep their configuration and their caches."""
    for other in theirs.parent.iterdir() if theirs.parent.is_dir() else ():
        if other.name != theirs.name:
            (folder / other.name).symlink_to(other)
