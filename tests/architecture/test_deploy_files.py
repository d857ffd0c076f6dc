"""The files in examples/deploy are valid, and agree with one another and with the server."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from api.cli.main import spoon
from api.http.contract.constraints import MAX_WAIT_S
from api.http.route_roles import ROLES
from conf.load import load
from conf.settings import Settings
from conf.units import parse_duration_s
from kernel.main import EXIT_CONFIGURATION, EXIT_DATABASE, EXIT_TAKEN
from kernel.protocol.api_keys import PREFIX
from kernel.protocol.enums import Role
from tests.architecture.source_files import ROOT

CONTAINER: Final = ROOT / "examples/deploy/container"
PROXY: Final = ROOT / "examples/deploy/proxy"
SYSTEMD: Final = ROOT / "examples/deploy/systemd"
UNIT: Final = SYSTEMD / "automatic-spoon.service"
DATA: Final = Path("/var/lib/automatic-spoon")
OWN_MODELS: Final = Path("/models")
TARGETS: Final = ("cpu", "cuda")
EXPOSURE: Final = 25
"""At most, in tenths, of what `systemd-analyze security` finds; it was 20."""


def tool(name: str) -> str:
    """A program of this environment or of the machine. Skips the test without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


def ran(*command: str | Path) -> tuple[int, str]:
    """The exit code of a command and its output, errors included."""
    ended = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def settings_in(folder: Path) -> Settings:
    return load(folder / "spoon.toml", {})


def folders_of(settings: Settings) -> set[Path]:
    """Everything that a server writes to."""
    return {
        settings.database.folder,
        settings.images.folder,
        settings.blobs.folder,
        settings.models.folder,
        settings.bus_folder,
    }


# The image.


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, in one line each."""
    text = re.sub(r"^ *#.*\n", "", (CONTAINER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return [(name, re.sub(r"\s+", " ", rest)) for name, rest in pairs]


def stage(target: str) -> list[tuple[str, str]]:
    """The instructions that make the last layers of a target: those of its stages after the base image."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for name, rest in dockerfile():
        if name == "FROM":
            source, _, stage_name = rest.split()
            current = found[stage_name] = [*found.get(source, [])]
        else:
            current.append((name, rest))
    return found[target]


def values(target: str, instruction: str) -> list[str]:
    return [rest for name, rest in stage(target) if name == instruction]


def copied() -> Iterator[str]:
    """What the Dockerfile copies from the repository."""
    for name, rest in dockerfile():
        if name == "COPY" and not rest.startswith("--from"):
            yield from rest.split()[:-1]


def admitted() -> list[str]:
    """What .dockerignore lets through."""
    lines = (CONTAINER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    return [rule.removeprefix("!") for rule in rules if rule.startswith("!")]


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    assert ran(tool("hadolint"), CONTAINER / "Dockerfile") == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_user_without_rights(target: str) -> None:
    user, _, group = values(target, "USER")[-1].partition(":")
    assert int(user) > 0
    assert int(group) > 0


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_commands_that_there_are(target: str) -> None:
    assert values(target, "ENTRYPOINT") == ['["spoon"]']
    (checked,), (served,) = values(target, "HEALTHCHECK"), values(target, "CMD")
    assert served.strip('["]') in spoon.commands
    assert re.search(r'CMD \["spoon", "(\w+)"\]$', checked)[1] in spoon.commands  # type: ignore[index]
    assert values(target, "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_a_volume_for_everything_that_the_server_writes(target: str) -> None:
    (declared,) = values(target, "VOLUME")
    volumes = {Path(one) for one in re.findall(r'"([^"]+)"', declared)}
    assert volumes == {DATA, DATA / "models"}
    assert {one for one in folders_of(settings_in(CONTAINER)) if not one.is_relative_to(DATA)} == set()
    assert settings_in(CONTAINER).models.folder == DATA / "models"


def test_what_is_copied_into_the_build_is_there_and_let_through() -> None:
    for path in (one for one in copied() if one != "."):
        assert (ROOT / path).exists(), path
        assert any(Path(path).is_relative_to(rule) for rule in admitted()), path


def test_what_the_wheel_is_made_of_is_let_through() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = setup["options.packages.find"]["include"].replace("*", "").split()
    licenses = setup["metadata"]["license_files"].replace(",", " ").split()
    readme = setup["metadata"]["long_description"].removeprefix("file:").strip()
    assert {*packages, *licenses, readme, "setup.cfg", "pyproject.toml"} <= {*admitted()}
    assert [rule for rule in admitted() if not (ROOT / rule).exists()] == []


def test_the_workflow_builds_the_image_and_runs_it() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8"))
    last = workflow["jobs"]["image"]["steps"][-1]
    assert last["env"]["IMAGE"] in TARGETS
    assert (ROOT / last["run"].removeprefix("pytest ")).is_file()


# Compose.


def composed() -> dict[str, Any]:
    """The services of compose.yaml."""
    services: dict[str, Any] = loaded("compose.yaml")["services"]
    return services


def loaded(name: str) -> Any:
    return yaml.safe_load((CONTAINER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_a_compose_file_fits_the_schema(name: str) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    assert ran(*command, CONTAINER / name) == (0, "ok -- validation done\n")


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.cuda.yaml"]])
def test_docker_can_read_the_compose_files(files: list[str]) -> None:
    docker = tool("docker")
    if ran(docker, "compose", "version")[0] != 0:
        pytest.skip("docker has no plugin compose")
    named = [part for name in files for part in ("-f", str(CONTAINER / name))]
    code, output = ran(docker, "compose", *named, "config", "--quiet")
    assert (code, output) == (0, "")


@pytest.mark.parametrize("service", ["server", "prometheus"])
def test_a_container_can_neither_write_its_root_nor_gain_rights(service: str) -> None:
    found = composed()[service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in found
    assert "cap_add" not in found


def test_every_port_is_published_on_loopback_only() -> None:
    ports = [port for service in composed().values() for port in service["ports"]]
    assert len(ports) == 2
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert f"127.0.0.1:7870:{settings_in(CONTAINER).server.port}" in ports


def test_a_container_is_stopped_no_sooner_than_its_jobs_may_take() -> None:
    grace_s = settings_in(CONTAINER).shutdown.grace_s
    assert parse_duration_s(composed()["server"]["stop_grace_period"]) > grace_s


def mounts() -> dict[Path, tuple[str, bool]]:
    """What is mounted where in the server's container, and whether for reading only."""
    lines = composed()["server"]["volumes"]
    parts = [(line.removesuffix(":ro").rpartition(":"), line.endswith(":ro")) for line in lines]
    return {Path(place): (source, is_read_only) for (source, _, place), is_read_only in parts}


def test_only_the_volumes_of_the_image_can_be_written() -> None:
    found = mounts()
    volumes = {place for place, (_, is_read_only) in found.items() if not is_read_only}
    assert volumes == {DATA, DATA / "models"}
    assert {found[place][0] for place in volumes} <= loaded("compose.yaml")["volumes"].keys()
    assert found.keys() - volumes == {OWN_MODELS, Path("/etc/automatic-spoon/spoon.toml")}
    assert settings_in(CONTAINER).models.folders == (OWN_MODELS,)


def test_with_a_gpu_only_the_image_and_the_devices_differ() -> None:
    (name,), (server,) = loaded("compose.cuda.yaml"), loaded("compose.cuda.yaml")["services"].values()
    assert name == "services"
    assert set(server) == {"image", "build", "deploy"}
    assert server["build"] == {"target": "cuda"}
    (devices,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert (devices["driver"], devices["capabilities"]) == ("nvidia", ["gpu"])


# Prometheus.


def test_prometheus_calls_the_server_by_a_name_that_it_accepts() -> None:
    (job,) = loaded("prometheus.yml")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in composed()
    assert host in settings_in(CONTAINER).server.allowed_hosts
    assert int(port) == settings_in(CONTAINER).server.port
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_prometheus_shows_a_key_that_may_read_metrics_and_at_first_none() -> None:
    (job,) = loaded("prometheus.yml")["scrape_configs"]
    (secret,) = composed()["prometheus"]["secrets"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    variable, _, default = loaded("compose.yaml")["secrets"][secret]["file"].strip("${}").partition(":-")
    assert f"{PREFIX}_" not in (CONTAINER / default).read_text(encoding="utf-8")
    assert f"{variable}=" in section("Container")
    assert ROLES["get_metrics"] is Role.VIEWER


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """With the paths of this machine in place of those in the container: it looks for the files."""
    file, text = tmp_path / "prometheus.yml", (CONTAINER / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace("/run/secrets/metrics_key", str(CONTAINER / "no-key"))
    file.write_text(text.replace("../monitoring", str(CONTAINER.parent / "monitoring")), encoding="utf-8")
    code, output = ran(tool("promtool"), "check", "config", file)
    assert code == 0, output


# Proxies with TLS; tests/acceptance/test_tls_proxies.py runs them.


@pytest.mark.parametrize("name", ["Caddyfile", "nginx.conf"])
def test_the_settings_that_a_proxy_needs_are_those_of_the_page(name: str, tmp_path: Path) -> None:
    text = (PROXY / name).read_text(encoding="utf-8")
    wanted = re.findall(r"^# {4,}server\.(.*)$", text, re.MULTILINE)
    page = (ROOT / "docs/keys.md").read_text(encoding="utf-8")
    assert "\n".join(["    [server]", *(f"    {line}" for line in wanted)]) in page
    (tmp_path / "spoon.toml").write_text("[server]\n" + "\n".join(wanted), encoding="utf-8")
    server = settings_in(tmp_path).server
    assert server.trusted_proxies
    assert re.search(rf"^\s*(server_name )?{server.allowed_hosts[0]}( {{|;)$", text, re.MULTILINE)
    assert f"127.0.0.1:{Settings().server.port}" in text


def test_nginx_waits_longer_than_a_request_may() -> None:
    text = (PROXY / "nginx.conf").read_text(encoding="utf-8")
    (patience,) = re.findall(r"proxy_read_timeout (\w+);", text)
    assert parse_duration_s(patience) > MAX_WAIT_S
    assert "proxy_buffering off;" in text
    assert "proxy_request_buffering off;" in text


# systemd.


def unit() -> dict[str, dict[str, list[str]]]:
    """The directives of the unit by section."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(name, []).append(value)
    return found


def directive(name: str) -> str:
    """The only value of a directive of the service."""
    (value,) = unit()["Service"][name]
    return value


@pytest.fixture
def startable(tmp_path: Path) -> Path:
    """The unit with a program that there is."""
    text = UNIT.read_text(encoding="utf-8")
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/opt/automatic-spoon/bin/spoon", "/bin/true"), encoding="utf-8")
    return copy


def test_systemd_has_nothing_to_say_of_the_unit(startable: Path) -> None:
    assert ran(tool("systemd-analyze"), "verify", startable) == (0, "")


def test_the_service_is_exposed_to_little(startable: Path) -> None:
    command = ("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}")
    code, output = ran(tool("systemd-analyze"), *command, startable)
    assert code == 0, output


def test_the_service_keeps_what_torch_and_the_manager_need() -> None:
    directives = unit()["Service"]
    assert (
        directives.keys() & {"MemoryDenyWriteExecute", "ProcSubset", "PrivateDevices", "PrivateNetwork"}
        == set()
    )
    assert set(directive("RestrictAddressFamilies").split()) >= {"AF_UNIX", "AF_INET", "AF_INET6"}
    assert directive("DeviceAllow") == "char-nvidia* rw"


def test_the_service_stops_like_the_server() -> None:
    assert directive("KillMode") == "mixed"
    assert parse_duration_s(directive("TimeoutStopSec").replace("min", "m")) > Settings().shutdown.grace_s
    codes = {int(code) for code in directive("RestartPreventExitStatus").split()}
    assert codes == {EXIT_DATABASE, EXIT_TAKEN, EXIT_CONFIGURATION}


def test_the_service_may_write_what_its_configuration_names() -> None:
    settings = settings_in(SYSTEMD)
    state, runtime = (
        Path("/var/lib", directive("StateDirectory")),
        Path("/run", directive("RuntimeDirectory")),
    )
    assert state == DATA
    homeless = {one for one in folders_of(settings) if not one.is_relative_to(state) and one != runtime}
    assert homeless == set()
    assert directive("ExecStart") == (
        "/opt/automatic-spoon/bin/spoon --config /etc/automatic-spoon/spoon.toml serve"
    )


def test_its_user_is_made_and_owns_the_folders(tmp_path: Path) -> None:
    users, folders = SYSTEMD / "sysusers.conf", SYSTEMD / "tmpfiles.conf"
    user = directive("User")
    assert re.search(rf"^u {user} ", users.read_text(encoding="utf-8"), re.MULTILINE)
    (tmp_path / "etc").mkdir()
    code, output = ran(tool("systemd-sysusers"), "--dry-run", f"--root={tmp_path}", users)
    assert code == 0, output
    assert f"Creating user '{user}'" in output
    lines = [line.split() for line in folders.read_text(encoding="utf-8").splitlines() if line[:1] == "d"]
    assert lines == [
        ["d", "/etc/automatic-spoon", "0755", "root", "root"],
        ["d", str(DATA), "0700", user, directive("Group")],
    ]


# The page.


def section(title: str) -> str:
    """A section of docs/operations.md."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def is_command(words: tuple[str, str]) -> bool:
    """True if `spoon` has such a command, or a group with such a subcommand."""
    found = spoon.commands.get(words[0])
    return found is not None and (not isinstance(found, click.Group) or words[1] in found.commands)


def test_the_page_explains_the_unit_that_there_is() -> None:
    directives = unit()["Service"]
    explained = dict(re.findall(r"`([A-Z]\w+)=([^`]+)`", section("systemd")))
    shown = {name: value for name, value in explained.items() if name in directives}
    assert len(shown) > 6
    assert {name: [value] for name, value in shown.items()} == {name: directives[name] for name in shown}


def test_the_page_installs_every_file_of_the_service_where_it_says_it_belongs() -> None:
    installed = dict(re.findall(r"^install .* (\S+) (/etc/\S+)$", section("systemd"), re.MULTILINE))
    assert installed.keys() == {file.name for file in SYSTEMD.iterdir()}
    for name, place in installed.items():
        text = (SYSTEMD / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {place}: ") or Path(place) == Path("/etc/systemd/system", UNIT.name)


@pytest.mark.parametrize(("title", "number"), [("systemd", 1), ("Container", 7)])
def test_the_commands_of_the_page_are_commands_of_spoon(title: str, number: int) -> None:
    calls = r"(?:exec (?:-T )?server spoon|run --rm server|bin/spoon --config \S+) (\w+) ?(\w*)"
    typed = re.findall(calls, section(title))
    assert len(typed) == number
    assert [words for words in typed if not is_command(words)] == []
