"""Pools in the configuration: their sections, what is filled in, and what is refused."""

import re
from pathlib import Path

import pytest

from conf.installation import of_file
from conf.load import explain, load
from conf.pools import LauncherKind, Pool, filled
from conf.values import show_value
from kernel.protocol.errors import BadConfiguration

SSH = """
bus.endpoint = "tcp://10.0.0.1:7871"
[pools.gpu-lab]
launcher = "command"
token_file = "/etc/spoon/lab.token"
max_workers = 2
launch_timeout = "20m"
start = ["ssh", "gpu1", "spoon worker --launch {name}"]
"""
RAY = """
[pools.cloud]
launcher = "ray"
manager = "tcp://10.0.0.1:7871"
token_file = "/etc/spoon/cloud.token"
address = "ray://head:10001"
num_gpus = 0.5
accelerator_type = "A100"
resources = ["cloud=1", "disk=2.5"]
"""
COMMAND = "[pools.a]\nlauncher = 'command'\n"
BY_RAY = "[pools.a]\nlauncher = 'ray'\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_each_section_is_a_pool(tmp_path: Path) -> None:
    pools = load(written(tmp_path, SSH + RAY + "[pools.people]\n"), {}).pools
    assert pools["people"] == Pool()
    lab, cloud = pools["gpu-lab"], pools["cloud"]
    assert (lab.launcher, lab.max_workers, lab.launch_timeout_s) == (LauncherKind.COMMAND, 2, 1200.0)
    assert lab.start == ("ssh", "gpu1", "spoon worker --launch {name}")
    assert (cloud.launcher, cloud.num_gpus, cloud.address) == (LauncherKind.RAY, 0.5, "ray://head:10001")
    assert cloud.amounts == {"cloud": 1.0, "disk": 2.5}


def test_without_a_section_there_is_no_pool(tmp_path: Path) -> None:
    assert load(written(tmp_path, ""), {}).pools == {}


def test_a_variable_overrides_a_key_of_a_pool_in_the_file(tmp_path: Path) -> None:
    environ = {
        "SPOON_POOLS_GPU_LAB_MAX_WORKERS": "7",
        "SPOON_POOLS_GPU_LAB_START": "ssh gpu2 'spoon worker --launch {name}'",
    }
    lab = load(written(tmp_path, SSH), environ).pools["gpu-lab"]
    assert (lab.max_workers, lab.start) == (7, ("ssh", "gpu2", "spoon worker --launch {name}"))


def test_the_source_of_a_value_is_said_and_what_is_shown_is_what_a_file_may_say(tmp_path: Path) -> None:
    source = written(tmp_path, SSH + RAY)
    effective = explain(of_file(source), {})
    origins = {one.key.path: one.origin for one in effective}
    assert origins["pools.gpu-lab.max_workers"] == f"{source}:6"
    assert origins["pools.gpu-lab.poll"] == "default"
    shown = [f"{one.key.path} = {show_value(one.key, one.value)}" for one in effective]
    (tmp_path / "again").mkdir()
    assert load(written(tmp_path / "again", "\n".join(shown)), {}) == load(source, {})


def test_placeholders_are_filled_in_and_other_braces_are_as_written() -> None:
    values = {"name": "w1-2", "pool": "lab"}
    assert filled(["{pool}-{name}", "{{.State.Status}}", "{ print }", "${HOME}"], values) == [
        "lab-w1-2",
        "{{.State.Status}}",
        "{ print }",
        "${HOME}",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[pools]\nx = 1", "pools.x is a section; write its keys under [pools.x]"),
        ("pools = 3", "pools is a section; write its keys under [pools]"),
        ("[pools.Lab]", "pools.Lab: the name of a pool has small letters"),
        ("[pools.-a]", "pools.-a: the name of a pool"),
        ("[pools.a]\nlancher = 'ray'", "unknown key pools.a.lancher: did you mean pools.a.launcher?"),
        (
            "[pools.a]\nlauncher = 'slurm'",
            'pools.a.launcher: "slurm" is not allowed: must be one of "command", "ray", or "none"',
        ),
        (
            "[pools.a]\nmanager = 'host:7871'",
            'pools.a.manager: "host:7871" is not allowed: must be an address',
        ),
        ("[pools.a]\nmax_workers = 0", "pools.a.max_workers: 0 is not allowed"),
        (f"{COMMAND}start = 'ssh gpu1'", "must be a program and its arguments, such as ["),
        ("[pools.a]\nstart = ['ssh']", 'pools.a.start: has an effect only with launcher = "command"'),
        (f"{COMMAND}num_gpus = 2", 'pools.a.num_gpus: has an effect only with launcher = "ray"'),
        (COMMAND, "pools.a.token_file: name the file with the pool's token, on the host"),
        (COMMAND, "pools.a.manager: set it or bus.endpoint"),
        (COMMAND, "pools.a.start: must be set, and must have {name} in an argument"),
        (f"{COMMAND}start = ['ssh', 'gpu1']", "pools.a.start: must have {name} in an argument"),
        (
            COMMAND + "start = ['{name}', '{nmae}']",
            "pools.a.start: unknown placeholder {nmae}: use {name}, {manager}, {token_file}, {pool}",
        ),
        (COMMAND + "kill = ['{secret}']", "pools.a.kill: unknown placeholder {secret}"),
        (f"{BY_RAY}worker = ['spoon']", "pools.a.worker: must have {name} in an argument"),
        (f"{BY_RAY}resources = ['gpu']", 'pools.a.resources: "gpu" is not allowed: write "label=1"'),
        (f"{BY_RAY}num_gpus = -1", "pools.a.num_gpus: -1 is not allowed: must be a number"),
    ],
)
def test_a_mistake_is_refused_with_its_key_and_a_way_out(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load(written(tmp_path, text), {})
    assert complaint in str(refused.value)
    assert "mine.toml" in str(refused.value)


def test_the_name_of_a_pool_may_have_dots(tmp_path: Path) -> None:
    pools = load(
        written(tmp_path, '[pools."rack.1"]\nmax_workers = 3'), {"SPOON_POOLS_RACK_1_LAUNCHER": "none"}
    )
    assert pools.pools == {"rack.1": Pool(max_workers=3)}


def test_the_examples_of_the_page_are_configurations(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/launchers.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 6
    for example in examples:
        text = example if "[pools." in example else f"{COMMAND}token_file = '/t'\n{example}"
        pools = load(written(tmp_path, text), {"SPOON_BUS_ENDPOINT": "tcp://10.0.0.1:7871"}).pools
        assert [pool.launcher is not None for pool in pools.values()] == [True]


def test_a_pool_that_only_variables_name_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="unknown environment variable SPOON_POOLS_A_LAUNCHER"):
        load(written(tmp_path, ""), {"SPOON_POOLS_A_LAUNCHER": "ray"})
