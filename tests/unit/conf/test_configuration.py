"""Where settings come from, which one counts, and what is refused."""

import re
from pathlib import Path

import pytest

from conf.installation import FOLDER_KEYS, of_file
from conf.keys import POOLS, all_keys
from conf.load import explain, load
from conf.settings import Settings
from conf.values import show_value
from kernel.protocol.enums import Compilation
from kernel.protocol.errors import BadConfiguration

SHIPPED = Path(__file__).parents[3] / "conf" / "spoon.toml"


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def uncommented(folder: Path) -> Path:
    """The shipped file, with the lines that it has as comments."""
    return written(folder, re.sub(r"(?m)^#(?=\w+ = )", "", SHIPPED.read_text(encoding="utf-8")))


def test_the_shipped_file_says_exactly_the_defaults(tmp_path: Path) -> None:
    shipped = load(uncommented(tmp_path), {})
    copied = load(written(tmp_path, SHIPPED.read_text(encoding="utf-8")), {})
    assert shipped == copied == load(written(tmp_path, ""), {})


def test_the_shipped_file_names_every_key(tmp_path: Path) -> None:
    origins = {one.key.path: one.origin for one in explain(of_file(uncommented(tmp_path)), {})}
    assert [path for path, origin in origins.items() if origin == "default"] == []


def test_the_shipped_file_leaves_the_folders_of_the_server_where_they_are(tmp_path: Path) -> None:
    copied = written(tmp_path, SHIPPED.read_text(encoding="utf-8"))
    unsaid = {one.key.path for one in explain(of_file(copied), {}) if one.origin == "default"}
    assert unsaid == set(FOLDER_KEYS)


def test_every_field_of_the_settings_has_a_key() -> None:
    fields = {f"{section}.{field}" for section in Settings.__struct_fields__ if section != POOLS
              for field in getattr(Settings(), section).__struct_encode_fields__}  # fmt: skip
    assert {f"{key.section}.{key.field}" for key in all_keys()} == fields


def test_a_relative_folder_begins_at_the_folder_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'images.folder = "pictures"\nmodels.file_roots = ["a", "/b"]\n')
    settings = load(file, {})
    assert settings.images.folder == tmp_path / "pictures"
    assert settings.models.file_roots == (tmp_path / "a", Path("/b"))


def test_detectors_lie_below_the_models_unless_another_folder_is_named(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'models.folder = "m"'), {}).detectors_folder == tmp_path / "m/detectors"
    named = written(tmp_path, 'models.folder = "m"\nmodels.detectors_folder = "/d"\n')
    assert load(named, {}).detectors_folder == Path("/d")


def test_units_are_read_and_the_suffix_is_no_part_of_the_key(tmp_path: Path) -> None:
    file = written(
        tmp_path, '[images]\nexpire_after = "12h"\ndisk_quota = "50GB"\n[engines]\nkeep_alive = 90\n'
    )
    settings = load(file, {})
    assert settings.images.expire_after_s == 43_200
    assert settings.images.disk_quota_bytes == 50_000_000_000
    assert settings.engines.keep_alive_s == 90


@pytest.mark.parametrize("word", ["never", "none", "Never"])
def test_what_can_be_left_open_can_be_said_to_be_open(tmp_path: Path, word: str) -> None:
    assert load(written(tmp_path, f'images.expire_after = "{word}"'), {}).images.expire_after_s is None


def test_the_environment_counts_more_than_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[server]\nport = 1\nthreads = 2\n")
    environ = {"SPOON_SERVER_PORT": "3", "SPOON_MODELS_ALLOW_PICKLE": "True", "HOME": "/root"}
    settings = load(file, environ)
    assert (settings.server.port, settings.server.threads, settings.models.allow_pickle) == (3, 2, True)


def test_a_list_in_the_environment_is_separated_as_in_path(tmp_path: Path) -> None:
    settings = load(written(tmp_path, ""), {"SPOON_MODELS_FILE_ROOTS": "/a:b"})
    assert settings.models.file_roots == (Path("/a"), tmp_path / "b")


def test_proxies_are_addresses_and_networks_of_both_kinds(tmp_path: Path) -> None:
    file = written(tmp_path, "server.trusted_proxies = ['127.0.0.1', '10.0.0.0/8', '::1', 'fd00::/8']")
    assert load(file, {}).server.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8")
    listed = {"SPOON_SERVER_TRUSTED_PROXIES": "::1, 10.0.0.0/8"}
    assert load(file, listed).server.trusted_proxies == ("::1", "10.0.0.0/8")


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "server.port = 5")
    assert (
        load(
            None, {"SPOON_CONFIG": str(file), "SPOON_URL": "http://elsewhere", "SPOON_ENGINE": "e"}
        ).server.port
        == 5
    )


def test_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, "# mine\n[server]\nport = 5\n[bus]\nendpoint = 'tcp://10.0.0.1:7871'\n")
    origins = {one.key.path: one.origin for one in explain(of_file(file), {"SPOON_SERVER_HOST": "::1"})}
    assert origins["server.port"] == f"{file}:3"
    assert origins["bus.endpoint"] == f"{file}:5"
    assert origins["server.host"] == "SPOON_SERVER_HOST"
    assert origins["server.threads"] == "default"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("server.prot = 1", "unknown key server.prot: did you mean server.port?"),
        ("[imagse]\nfolder = 'x'", "unknown section imagse: did you mean images?"),
        ("server = 3", "server is a section"),
        ("a = = 1", "is not valid TOML: Invalid value (at line 1, column 5)"),
        ("server.port = 70000", "server.port: 70000 is not allowed: must be a whole number from 0 to 65535"),
        ("server.port = '80'", 'mine.toml:1: server.port: "80" is not allowed: must be a whole number'),
        ("server.threads = 0", "server.threads: 0 is not allowed: must be a whole number, 1 or more"),
        ("server.threads = true", "server.threads: true is not allowed"),
        ("server.max_queue = 99999999999999999999", "server.max_queue: 99999999999999999999 is not allowed"),
        ("images.expire_after = '7 days'",
         'images.expire_after: "7 days" is not allowed: must be a duration'),
        ("images.expire_after = nan", "images.expire_after: nan is not allowed"),
        ("images.expire_after = -1", "images.expire_after: -1 is not allowed"),
        ("images.disk_quota = '50G'", 'must be a size such as "50GB" or "1GiB", 1B or more, or "none"'),
        ("engines.keep_alive = 'never'", 'engines.keep_alive: "never" is not allowed'),
        ("models.allow_pickle = 1", "models.allow_pickle: 1 is not allowed: must be true or false"),
        ("models.file_roots = '/a'",
         'models.file_roots: "/a" is not allowed: must be a list of folder paths'),
        ("models.file_roots = ['']", "a list of folder paths"),
        ("bus.endpoint = 'tcp://127.0.0.1:65536'", 'must be an address such as "tcp://192.168.1.2:7871"'),
        ("bus.endpoint = 'tcp://127.0.0.1:99999'", 'must be an address such as "tcp://192.168.1.2:7871"'),
        ("bus.endpoint = 'ipc:///x'", 'must be an address such as "tcp://192.168.1.2:7871", or "none"'),
        ("server.host = ''", 'server.host: "" is not allowed: must be a non-empty string'),
        ("server.trusted_proxies = ['10.0.0.1/8']", "must be a list of IP addresses and networks, such as ["),
        ("server.trusted_proxies = ['proxy.lan']", "must be a list of IP addresses and networks, such as ["),
        ("server.trusted_proxies = ['']", "must be a list of IP addresses and networks, such as ["),
        ("server.trusted_proxies = [1]", "must be a list of IP addresses and networks, such as ["),
        ("server.trusted_proxies = '10.0.0.1'", "must be a list of IP addresses and networks, such as ["),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_with_its_key_and_a_way_out(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load(written(tmp_path, text), {})
    assert complaint in str(refused.value)
    assert "mine.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("SPOON_SERVER_PROT", "1", "SPOON_SERVER_PROT: did you mean SPOON_SERVER_PORT?"),
        ("SPOON_SERVER_PORT", "many", 'SPOON_SERVER_PORT: "many" is not allowed'),
        ("SPOON_SERVER_PORT", "", 'SPOON_SERVER_PORT: "" is not allowed'),
        ("SPOON_MODELS_ALLOW_PICKLE", "yes", "must be true or false"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    tmp_path: Path, variable: str, value: str, complaint: str
) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load(written(tmp_path, ""), {variable: value})
    assert complaint in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="no such file"):
        load(tmp_path / "absent.toml", {})


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfiguration, match="cannot read the file"):
        load(file, {})


def test_what_is_shown_is_what_the_file_may_say(tmp_path: Path) -> None:
    source = written(tmp_path, 'images.folder = "a \\"b\\" \\\\ c"\nimages.disk_quota = "50GB"\n')
    shown = "\n".join(
        f"{one.key.path} = {show_value(one.key, one.value)}" for one in explain(of_file(source), {})
    )
    (tmp_path / "again").mkdir()
    assert load(written(tmp_path / "again", shown), {}) == load(source, {})


def test_one_of_several_words_is_taken_and_any_other_refused_with_all_of_them(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'engines.compile = "graphs"'), {}).engines.compile is Compilation.GRAPHS
    named = {"SPOON_ENGINES_COMPILE": "regional"}
    assert load(written(tmp_path, ""), named).engines.compile is Compilation.REGIONAL
    with pytest.raises(BadConfiguration, match=r'"always" is not allowed.*"off", "regional", "graphs"'):
        load(written(tmp_path, 'engines.compile = "always"'), {})
