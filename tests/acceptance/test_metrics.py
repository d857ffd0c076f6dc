"""/metrics of a real server: what it has done counts once; dashboard, alerts and page name what is there."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from kernel.protocol.enums import JobState
from tests.acceptance.orders import PLAIN, create_engine, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server
from tests.architecture.source_files import ROOT

MONITORING = ROOT / "examples/deploy/monitoring"
NAME = re.compile(r"\b(?:spoon|process)_[a-z_]+\b")
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=PATIENCE_S)


def is_ready(server: Server) -> bool:
    try:
        return get(server, "/v1/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def metrics(server: Server) -> dict[str, Metric]:
    families = text_string_to_metric_families(get(server, "/metrics").text)
    return {family.name: family for family in families}


def value(found: dict[str, Metric], family: str, suffix: str = "", **labels: str) -> float:
    """The sum of the samples with these labels."""
    samples = found[family].samples
    return sum(
        one.value for one in samples if one.name == family + suffix and labels.items() <= one.labels.items()
    )


def expressions() -> Iterator[str]:
    """Every query of the dashboard and the alerts."""
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def described() -> dict[str, tuple[str, str]]:
    """Type and meaning of each metric in the table of operations.md."""
    page = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `(spoon_\w+)` \| (\w+) \| (.+) \|$", page, re.MULTILINE)
    return {name: (kind, text) for name, kind, text in rows}


def test_what_has_happened_is_counted_once_also_over_a_killed_manager(server_with_api: Server) -> None:
    server = server_with_api
    server.start()
    wait_for("the API", lambda: is_ready(server))
    engine = create_engine(server.line, server.records.model_named(PLAIN))
    job_id = submit(server.line, engine).job_id
    job = server.records.wait_for_job(job_id, JobState.FINISHED)
    image_id = job.image_ids[0]
    assert get(server, f"/v1/images/{image_id}/download").status_code == 200
    assert get(server, "/nowhere/at/all").status_code == 404
    assert httpx.request("FOO", f"http://127.0.0.1:{server.port}/v1/jobs").status_code in (400, 405)
    wait_for("the download", lambda: value(metrics(server), "spoon_image_downloads", "_total") == 1)
    server.signal(signal.SIGKILL)
    server.exit_code()
    server.start()
    wait_for("the next API", lambda: is_ready(server))
    get(server, f"/v1/images/{image_id}")
    get(server, "/nowhere/at/all")
    found = metrics(server)
    for family, suffix in (
        ("spoon_job_wait_seconds", "_count"),
        ("spoon_job_run_seconds", "_count"),
        ("spoon_images_made", "_total"),
        ("spoon_image_downloads", "_total"),
    ):
        assert value(found, family, suffix) == 1, family
    assert value(found, "spoon_pixels_made", "_total") > 0
    assert value(found, "spoon_manager_up") == 1
    assert value(found, "spoon_engine_jobs", status="waiting") == 0
    routes = {one.labels["route"] for one in found["spoon_http_requests"].samples}
    assert {"/v1/images/{image_id}", "none"} <= routes
    assert not any(image_id in route or "nowhere" in route for route in routes)
    assert_all_is_named(found)


def assert_all_is_named(found: dict[str, Metric]) -> None:
    """The page has each metric; dashboard and alerts have no other."""
    served = {
        family.name + "_total" * (family.type == "counter"): (family.type, family.documentation)
        for family in found.values()
        if family.name.startswith("spoon_")
    }
    assert described() == served
    samples = {family.name + suffix for family in found.values() for suffix in SUFFIXES[family.type]}
    used = {name for expression in expressions() for name in NAME.findall(expression)}
    assert used <= samples
    assert len(used) > 20


def test_every_query_parses(tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or pytest.skip("promtool is not installed")
    rules = [
        {
            "record": f"query:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    for checked in (file, MONITORING / "alerts.yml"):
        ended = subprocess.run(
            [promtool, "check", "rules", checked], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
