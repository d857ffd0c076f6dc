"""Which configuration file counts, and where the folders of its server are."""

import os
from pathlib import Path

import pytest

from conf.installation import (
    FOLDER_KEYS,
    SYSTEM_CACHE,
    SYSTEM_DATA,
    Installation,
    Layout,
    locate,
    of_file,
    user_file,
)
from conf.keys import all_keys
from conf.load import explain, settings_of
from kernel.protocol.errors import BadConfiguration
from tests.own_folders import VARIABLES, user_in


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user who has nothing yet, and stands in it."""
    for name in VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "me").mkdir()
    monkeypatch.chdir(tmp_path / "me")
    return tmp_path / "me"


@pytest.fixture
def system_file(tmp_path: Path) -> Path:
    """Where the file of the system would be; it is not there."""
    return tmp_path / "etc/spoon.toml"


def written(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def folders_of(installation: Installation) -> dict[str, object]:
    return {key.path: installation.default_of(key) for key in all_keys() if key.path in FOLDER_KEYS}


def test_without_a_file_the_folders_are_the_users_wherever_the_command_is_run(
    home: Path, system_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folders_of(locate(None, {}, system_file))
    monkeypatch.chdir(tmp_path)
    assert folders_of(locate(None, {}, system_file)) == first
    data, state = home / ".local/share/automatic-spoon", home / ".local/state/automatic-spoon"
    assert first == {
        "database.folder": data / "database",
        "images.folder": data / "images",
        "blobs.folder": data / "blobs",
        "models.folder": data / "models",
        "bus.folder": state / "bus",
        "logs.folder": state / "logs",
        "thumbnails.folder": home / ".cache/automatic-spoon/thumbnails",
    }


def test_the_variables_of_the_platform_move_the_users_folders(
    home: Path, system_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in user_in(home / "x").items():
        monkeypatch.setenv(name, value)
    assert user_file() == home / "x/config/automatic-spoon/spoon.toml"
    folders = folders_of(locate(None, {}, system_file))
    assert folders["images.folder"] == home / "x/data/automatic-spoon/images"
    assert folders["bus.folder"] == home / "x/state/automatic-spoon/bus"


def test_a_named_file_counts_before_the_users_and_that_before_the_systems(
    home: Path, system_file: Path, tmp_path: Path
) -> None:
    assert locate(None, {}, system_file).file is None
    written(system_file)
    assert locate(None, {}, system_file).file == system_file
    written(user_file())
    assert locate(None, {}, system_file).file == user_file()
    assert locate(None, {"SPOON_CONFIG": "a.toml"}, system_file).file == Path("a.toml")
    assert locate(Path("b.toml"), {"SPOON_CONFIG": "a.toml"}, system_file).file == Path("b.toml")


def test_a_file_in_its_place_has_the_same_folders_whether_it_is_named_or_found(
    home: Path, system_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = folders_of(locate(None, {}, system_file))
    written(user_file())
    found = folders_of(locate(None, {}, system_file))
    named = folders_of(locate(user_file(), {}, system_file))
    monkeypatch.chdir(user_file().parent)
    assert without == found == named == folders_of(locate(Path("spoon.toml"), {}, system_file))


def test_a_users_file_may_be_a_link_to_where_it_is_kept(home: Path, system_file: Path) -> None:
    kept = written(home / "dotfiles/mine.toml")
    user_file().parent.mkdir(parents=True)
    user_file().symlink_to(kept)
    assert locate(None, {}, system_file).layout is Layout.USER
    assert locate(kept, {}, system_file).layout is Layout.BESIDE


def test_the_systems_file_has_the_systems_folders(home: Path, system_file: Path) -> None:
    written(system_file)
    installation = locate(None, {}, system_file)
    assert installation == of_file(system_file, system_file)
    folders = folders_of(installation)
    assert Path(str(folders.pop("thumbnails.folder"))).parent == SYSTEM_CACHE
    assert {Path(str(one)).parent for one in folders.values()} == {SYSTEM_DATA}


def test_a_file_anywhere_else_has_its_folders_beside_it(
    home: Path, system_file: Path, tmp_path: Path
) -> None:
    settings = settings_of(locate(written(tmp_path / "x/my.toml"), {}, system_file), {})
    assert settings.database.folder == tmp_path / "x/data/database"
    assert settings.models.folder == tmp_path / "x/data/models"
    assert settings.bus_folder == tmp_path / "x/data/database/bus"
    assert settings.logs_folder == tmp_path / "x/data/database/logs"


def test_data_in_the_current_folder_are_found_if_a_database_is_there_and_no_file_anywhere(
    home: Path, system_file: Path
) -> None:
    (home / "data/database").mkdir(parents=True)
    assert locate(None, {}, system_file).layout is Layout.USER
    written(home / "data/database/spoon.sqlite3")

    installation = locate(None, {}, system_file)
    assert settings_of(installation, {}).images.folder == home / "data/images"
    assert str(home / "data") in str(installation.notice())

    assert locate(None, {"SPOON_DATABASE_FOLDER": "x"}, system_file).layout is Layout.USER
    written(user_file())
    assert locate(None, {}, system_file).layout is Layout.USER
    assert locate(None, {}, system_file).notice() is None


def test_data_that_were_put_beside_a_file_in_its_place_stay_there(home: Path, system_file: Path) -> None:
    for file in (written(system_file), written(user_file())):
        written(file.parent / "data/database/spoon.sqlite3")
        settings = settings_of(of_file(file, system_file), {})
        assert settings.images.folder == file.parent / "data/images"


def test_every_folder_says_which_default_it_has(home: Path, system_file: Path) -> None:
    environ = {"SPOON_IMAGES_FOLDER": "pictures"}
    found = {one.key.path: one for one in explain(locate(None, environ, system_file), environ)}
    assert found["database.folder"].origin == "default (user's folder)"
    assert (found["images.folder"].origin, found["images.folder"].value) == (
        "SPOON_IMAGES_FOLDER",
        home / "pictures",
    )
    assert found["server.port"].origin == "default"
    written(home / "data/database/spoon.sqlite3")
    found = {one.key.path: one for one in explain(locate(None, {}, system_file), {})}
    assert found["database.folder"].origin == "default (data in this folder)"


def test_without_a_home_folder_the_way_out_is_said_and_a_named_file_works(
    home: Path, system_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # whom no list of users knows
    installation = locate(None, {}, system_file)
    with pytest.raises(BadConfiguration, match="no home folder: set HOME, or name a configuration file with"):
        settings_of(installation, {})
    everywhere = {key.variable: str(tmp_path) for key in all_keys() if key.path in FOLDER_KEYS}
    assert settings_of(installation, everywhere).images.folder == tmp_path
    assert settings_of(locate(written(tmp_path / "my.toml"), {}, system_file), {}).bus.folder is None


def test_a_place_that_cannot_be_looked_into_is_named(home: Path, system_file: Path) -> None:
    user_file().parent.parent.mkdir(parents=True)
    user_file().parent.symlink_to(user_file().parent.name)
    with pytest.raises(BadConfiguration, match=r"cannot look for a configuration there: .*name a file with"):
        locate(None, {}, system_file)
