"""Workflow, hooks and issue forms name commands and versions that exist."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.architecture.source_files import ROOT

TYPESCRIPT: Final = "tests/acceptance/typescript"
"""Where a test finds the tools that make a client in TypeScript; without them it is skipped."""
FORMS: Final = ("bug", "feature")


def loaded(path: str) -> Any:
    """A YAML file of the project."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{target}:"))
    found = []
    for line in lines[start + 1 :]:
        if not line.startswith("\t"):
            break
        found.append(line.strip())
    return found


def supported_pythons() -> list[str]:
    """The releases of Python that the package's classifiers name."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])


def test_the_workflow_runs_make_check_on_every_supported_python() -> None:
    job = loaded(".github/workflows/check.yml")["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == supported_pythons()
    commands = [step["run"] for step in job["steps"] if step.get("run", "").startswith("make ")]
    assert commands == ["make demo", "make dev", "make check"]
    assert (ROOT / TYPESCRIPT / "package-lock.json").is_file()
    assert all(recipe(command.removeprefix("make ")) for command in commands)


def test_the_workflow_tries_both_ends_of_what_setup_cfg_allows() -> None:
    job = loaded(".github/workflows/check.yml")["jobs"]["range"]
    assert job["strategy"]["matrix"] == {"python": supported_pythons(), "end": ["lowest", "newest"]}
    assert job["steps"][-1]["run"] == "make ${{ matrix.end }}"
    assert recipe("lowest newest") != []


def test_the_workflow_may_only_read_and_ends() -> None:
    workflow = loaded(".github/workflows/check.yml")
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] > 0


def test_the_hooks_run_what_make_check_runs_before_the_tests() -> None:
    (repository,) = loaded(".pre-commit-config.yaml")["repos"]
    hooks = [hook["entry"] for hook in repository["hooks"]]
    checks = [re.sub(r"( --check)? \.$", "", line) for line in recipe("check") if line.startswith("$(BIN)")]
    assert [hook.removesuffix(" --force-exclude") for hook in hooks] == [
        check.replace("$(BIN)", ".venv/bin") for check in checks
    ]


@pytest.mark.parametrize("form", FORMS)
def test_an_issue_form_has_what_the_host_requires(form: str) -> None:
    found = loaded(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= set(found)
    ids = [part["id"] for part in found["body"] if part["type"] != "markdown"]
    assert ids != []
    assert len(ids) == len(set(ids))
    assert all(part["attributes"].get("label") for part in found["body"] if part["type"] != "markdown")


def test_every_issue_form_is_tested() -> None:
    found = {path.stem for path in Path(ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}
    assert found == {*FORMS, "config"}


def test_the_bug_form_asks_for_version_and_doctor() -> None:
    parts = {part.get("id"): part for part in loaded(".github/ISSUE_TEMPLATE/bug.yml")["body"]}
    assert "`spoon --version`" in parts["version"]["attributes"]["description"]
    assert "`spoon doctor --json`" in parts["doctor"]["attributes"]["description"]
    assert parts["doctor"]["validations"]["required"]
