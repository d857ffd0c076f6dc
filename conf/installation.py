"""Which installation is meant when nobody says: its configuration file, and where its folders lie by default.

A configuration in the user's or in the system's place for it goes with the folders that the platform has for
programs. A file anywhere else is an installation of its own, with its data beside it. ADR 0064 says why.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, assert_never

from platformdirs import PlatformDirs

from conf.keys import Key, Value
from conf.settings import DATABASE_FILE
from conf.values import default_value
from kernel.protocol.errors import BadConfiguration

CONFIG_VARIABLE: Final = "SPOON_CONFIG"
FILE_NAME: Final = "spoon.toml"
_APP: Final = "automatic-spoon"
SYSTEM_FILE: Final = Path("/etc", _APP, FILE_NAME)
"""The configuration of a server that is a service of this machine."""
SYSTEM_DATA: Final = Path("/var/lib", _APP)
SYSTEM_CACHE: Final = Path("/var/cache", _APP)
_DATABASE_VARIABLE: Final = "SPOON_DATABASE_FOLDER"

_DATA: Final = {
    "database.folder": "database",
    "images.folder": "images",
    "blobs.folder": "blobs",
    "models.folder": "models",
}
_CACHE: Final = {"thumbnails.folder": "thumbnails"}
"""What is made again when it is missed."""
_STATE: Final = {"bus.folder": "bus", "logs.folder": "logs"}
"""What a start makes again. Nothing is in the runtime folder of the platform: a logout removes it."""
FOLDER_KEYS: Final = (*_DATA, *_STATE, *_CACHE)
"""The keys of the server's own folders. That of the detectors is in models.folder."""


class Layout(Enum):
    """Where the server's folders are by default: its value says it behind the values of the configuration."""

    BESIDE = "default"
    """In `data`, beside the configuration file."""
    HERE = "default (data in this folder)"
    """In `data` in the current folder, where a database is; without any configuration file."""
    USER = "default (user's folder)"
    SYSTEM = "default (system folder)"


@dataclass(frozen=True, slots=True)
class Installation:
    """A configuration file and the folders that go with it."""

    file: Path | None
    """As a person named it; None if there is no configuration file."""
    base: Path
    """The folder at which relative folders start."""
    layout: Layout

    def default_of(self, key: Key) -> Value:
        """A key's value when nobody sets it, folders absolute.

        Raises: BadConfiguration, if it is below the home folder and the user has none.
        """
        return self._folder_of(key) or default_value(key, self.base)

    def origin_of(self, key: Key) -> str:
        """Where that value comes from, in words."""
        return (self.layout if key.path in FOLDER_KEYS else Layout.BESIDE).value

    def notice(self) -> str | None:
        """What to tell a person about an installation that is found by the current folder alone."""
        if self.layout is not Layout.HERE:
            return None
        return f"using the data in {self.base / 'data'}; run `spoon init` here to use it from every folder"

    def _folder_of(self, key: Key) -> Path | None:
        if key.path not in FOLDER_KEYS:
            return None
        match self.layout:
            case Layout.BESIDE | Layout.HERE:
                return None
            case Layout.SYSTEM:
                if key.path in _CACHE:
                    return SYSTEM_CACHE / _CACHE[key.path]
                return SYSTEM_DATA / (_DATA | _STATE)[key.path]
            case Layout.USER:
                if key.path in _STATE:
                    return _absolute(lambda dirs: dirs.user_state_path) / _STATE[key.path]
                if key.path in _CACHE:
                    return _absolute(lambda dirs: dirs.user_cache_path) / _CACHE[key.path]
                return _absolute(lambda dirs: dirs.user_data_path) / _DATA[key.path]
            case _:
                assert_never(self.layout)


def locate(named: Path | None, environ: Mapping[str, str], system_file: Path = SYSTEM_FILE) -> Installation:
    """The installation that a call is about.

    The first of these decides: the named file; SPOON_CONFIG; the user's file; the system's file; a database
    in `data` in the current folder. Otherwise it is the one that the user has without a file.

    Raises: BadConfiguration, if it cannot be told whether a file is there.
    """
    file = named_file(named, environ) or _file_in_place(system_file)
    if file is not None:
        return of_file(file, system_file)
    here = Path.cwd()
    is_here = _DATABASE_VARIABLE not in environ and _has_data(here)
    return Installation(None, here, Layout.HERE if is_here else Layout.USER)


def of_file(file: Path, system_file: Path = SYSTEM_FILE) -> Installation:
    """The installation that a configuration file belongs to, by the folder that it lies in.

    Data that an earlier version has put beside a file in one of the two places stay where they are.
    """
    base = file.absolute().parent
    if _has_data(base):
        layout = Layout.BESIDE
    elif _is_same(file, system_file):
        layout = Layout.SYSTEM
    else:
        layout = Layout.USER if any(_is_same(file, one) for one in _user_files()) else Layout.BESIDE
    return Installation(file, base, layout)


def named_file(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file that a person has named, if one has been."""
    variable = environ.get(CONFIG_VARIABLE)
    return named or (Path(variable) if variable else None)


def user_file() -> Path:
    """Where the user's configuration file is, or would be.

    Raises: BadConfiguration, if the user has no home folder.
    """
    return _absolute(lambda dirs: dirs.user_config_path) / FILE_NAME


def _file_in_place(system_file: Path) -> Path | None:
    """The user's file, or else that of the system, if one is there."""
    return next((file for file in (*_user_files(), system_file) if _is_there(file)), None)


def worker_cache() -> Path | None:
    """Where a worker of another host keeps the models that it gets from the server; None, without a home
    folder."""
    try:
        return _absolute(lambda dirs: dirs.user_cache_path) / "worker-models"
    except BadConfiguration:
        return None


def _user_files() -> tuple[Path, ...]:
    """The user's file; none, without a home folder."""
    try:
        return (user_file(),)
    except BadConfiguration:
        return ()


def _has_data(folder: Path) -> bool:
    """Whether this user can see a database in the folder `data` below this one."""
    with suppress(OSError):
        return (folder / "data" / "database" / DATABASE_FILE).is_file()
    return False


def _is_there(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise BadConfiguration(
            f"{file}: cannot look for a configuration there: {error.strerror}; "
            f"name a file with --config or {CONFIG_VARIABLE}"
        ) from error
    return True


def _is_same(one: Path, other: Path) -> bool:
    """Whether both name the same entry of the same folder; a file that is a link is not followed."""
    return one.name == other.name and one.parent.resolve() == other.parent.resolve()


def _absolute(path_of: Callable[[PlatformDirs], Path]) -> Path:
    """A folder of the platform for this program. Raises: BadConfiguration, if the user has no home folder."""
    with suppress(RuntimeError):  # of newer platformdirs; others return a path that begins with ~
        folder = path_of(PlatformDirs(_APP))
        if folder.is_absolute():
            return folder
    raise BadConfiguration(
        "this user has no home folder: set HOME, or name a configuration file with --config or "
        f"{CONFIG_VARIABLE}"
    )
