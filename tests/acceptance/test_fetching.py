"""Models from elsewhere on a whole server: downloads that survive their processes, uploads, files that go."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kernel.protocol.client import (
    CreateEngine,
    DeleteModel,
    Done,
    ModelAccepted,
    RegisterModel,
    RetryModel,
)
from kernel.protocol.enums import JobState, ModelState, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.specs import EngineSpec
from tests.acceptance.orders import create_engine, submit, write_checkpoint
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import WORKER, environment
from tests.acceptance.server import Server
from tests.acceptance.slow_site import SlowSite, slow_site
from tests.integration.fetch.site import file, serve
from tests.integration.fetch.small_civitai import KEY, SmallCivitai, file_entry, version_entry
from tests.integration.fetch.small_hub import OLD, SmallHub

ALLOWED = 'allow_hosts = ["127.0.0.1"]'


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    write_checkpoint(tmp_path / "sample.safetensors")
    return (tmp_path / "sample.safetensors").read_bytes()


@pytest.fixture
def site(data: bytes) -> Iterator[SlowSite]:
    with slow_site(data, pause_at=len(data) // 2) as site:
        yield site


def register(server: Server, url: str, name: str = "from afar") -> ModelId:
    ask = RegisterModel(name=name, uri=url, model_type=ModelType.CHECKPOINT)
    return server.line.ask(ask, ModelAccepted).model_id


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def kept(server: Server) -> list[str]:
    """What the models folder holds, but for the mark of its owner."""
    return [name for name in files_below(server.models) if not name.startswith(".")]


def kept_at_rest(server: Server) -> list[str]:
    """The same, once the trash has taken what was gathered: it does so after the model is ready."""
    gathered = [server.models / "incoming", server.models / "uploads"]
    wait_for("the trash", lambda: not any(any(folder.iterdir()) for folder in gathered))
    return kept(server)


def wait_for_half(site: SlowSite, server: Server, model_id: ModelId) -> None:
    """Until half of it has been sent, and some of it is durable in the folder of this model."""
    assert site.is_paused.wait(PATIENCE_S)
    mark = server.models / f"incoming/{model_id}/part.mark"
    wait_for("some of the file", lambda: mark.exists() and '"size_bytes":0' not in mark.read_text())


def test_a_download_survives_the_death_of_its_worker_and_of_the_manager(
    server: Server, site: SlowSite, data: bytes
) -> None:
    server.configure(models=ALLOWED)
    server.start()
    model_id = register(server, site.url)
    wait_for_half(site, server, model_id)
    (worker,) = server.processes(WORKER)
    worker.send(signal.SIGKILL)
    wait_for("another worker that asks for the rest", lambda: len(site.ranges) == 2)
    server.kill()
    server.start()
    site.may_go_on.set()
    row = server.records.wait_for_model(model_id)
    digest = hashlib.sha256(data).hexdigest()
    assert (row.sha256, row.stored) == (digest, f"files/{digest}.safetensors")
    assert kept_at_rest(server) == [f"files/{digest}.safetensors"]
    assert (server.models / f"files/{digest}.safetensors").read_bytes() == data
    assert site.ranges[0] is None
    assert all(wanted is not None for wanted in site.ranges[1:]), "each went on where the last one was"


def test_a_downloaded_model_is_used_by_an_engine(server: Server, site: SlowSite) -> None:
    server.configure(models=ALLOWED)
    server.start()
    site.may_go_on.set()
    model_id = register(server, site.url)
    server.records.wait_for_model(model_id)
    accepted = submit(server.line, create_engine(server.line, model_id))
    assert server.records.wait_for_job(accepted.job_id).status is JobState.FINISHED


def test_a_model_whose_file_is_gone_is_in_error_before_anything_loads_it_and_is_fetched_again(
    server: Server, site: SlowSite, data: bytes, tmp_path: Path
) -> None:
    server.configure(models=ALLOWED)
    server.start()
    site.may_go_on.set()
    lies = tmp_path / "sample.safetensors"
    ids = register(server, site.url), register(server, lies.as_uri(), "from here")
    rows = [server.records.wait_for_model(model_id) for model_id in ids]
    places = server.models / str(rows[0].stored), lies
    for model_id, place in zip(ids, places, strict=True):
        place.unlink()
        ask = CreateEngine(spec=EngineSpec(checkpoint=model_id), start=False)
        assert server.line.refusal(ask) == "model_not_ready"
    assert {row.error_code for row in server.records.models() if row.model_id in ids} == {"model_lost"}
    server.line.ask(RetryModel(model_id=ids[0]), ModelAccepted)
    assert server.records.wait_for_model(ids[0]).sha256 == rows[0].sha256
    assert places[0].read_bytes() == data
    server.kill()
    lies.write_bytes(data)
    server.start()
    assert server.records.wait_for_model(ids[1]) == rows[1]


def test_a_model_that_is_deleted_while_it_comes_leaves_nothing(server: Server, site: SlowSite) -> None:
    server.configure(models=ALLOWED)
    server.start()
    model_id = register(server, site.url)
    wait_for_half(site, server, model_id)
    server.line.ask(DeleteModel(model_id=model_id), Done)
    wait_for("the end of the worker", lambda: not server.processes(WORKER))
    wait_for("an empty folder", lambda: kept(server) == [])
    assert model_id not in {row.model_id for row in server.records.models()}


def test_files_go_with_the_last_model_that_is_made_of_them(server: Server, site: SlowSite) -> None:
    server.configure(models=ALLOWED)
    server.start()
    site.may_go_on.set()
    first, second = register(server, site.url), register(server, site.url, "the same again")
    stored = {server.records.wait_for_model(one).stored for one in (first, second)}
    assert len(stored) == 1, "the same content is kept once"
    server.line.ask(DeleteModel(model_id=first, files=True), Done)
    assert kept_at_rest(server) == list(stored)
    server.line.ask(DeleteModel(model_id=second, files=True), Done)
    wait_for("an empty folder", lambda: kept(server) == [])


def test_no_secret_of_an_address_or_of_the_configuration_is_in_a_log_or_row(
    server: Server, site: SlowSite, folder: Path
) -> None:
    (folder / "token").write_text("t0p-s3cret")
    token = f'tokens = ["127.0.0.1=file:{folder}/token"]'
    server.configure(models=f"{ALLOWED}\n{token}")
    server.start()
    site.may_go_on.set()
    server.records.wait_for_model(register(server, site.url))
    (worker,) = server.processes(WORKER)
    for name in ("cmdline", "environ"):
        assert b"t0p-s3cret" not in Path(f"/proc/{worker.pid}/{name}").read_bytes()
    server.stop()
    for path in [server.folder / "log", *server.worker_logs, *(folder / "database").glob("spoon*")]:
        content = path.read_bytes()
        assert b"t0p-s3cret" not in content, path
        assert b"secret-of-the-user" not in content or path.name.startswith("spoon"), path


def test_a_stranger_is_not_asked_and_that_is_said(server: Server, site: SlowSite) -> None:
    server.start()
    model_id = register(server, site.url)

    def error() -> str | None:
        (row,) = [row for row in server.records.models() if row.model_id == model_id]
        return row.error if row.status is ModelState.ERROR else None

    assert "models.allow_hosts" in wait_for("the model's error", error)
    assert site.ranges == []
    assert kept_at_rest(server) == []
    server.line.ask(RetryModel(model_id=model_id), ModelAccepted)


def test_a_repository_of_the_hub_that_the_environment_names_becomes_a_model(
    server: Server, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as site:
        hub = SmallHub(site)
        hub.put(OLD, {"README.md": b"# Dreams", "dreams.safetensors": data})
        site.scripts[f"/owner/dreams/resolve/{OLD}/dreams.safetensors"] = file(data)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{site.port}")
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
        server.start()
        row = server.records.wait_for_model(register(server, "hf://owner/dreams"))
    assert (row.revision, row.uri) == (OLD, "hf://owner/dreams")
    assert kept_at_rest(server) == [f"files/{hashlib.sha256(data).hexdigest()}.safetensors"]
    assert not any("authorization" in asked.headers for asked in site.asked)
    asked_for = {"/".join(asked.path.split("/")[:4]) for asked in site.asked}
    assert asked_for == {"/api/models/owner", "/owner/dreams/resolve"}, "and nothing else of the hub"


def test_a_model_on_civitai_becomes_one_of_this_server(server_with_api: Server, data: bytes) -> None:
    server = server_with_api
    with serve() as site:
        host = f"127.0.0.1:{site.port}"
        civitai = SmallCivitai(site, storage=f"http://{host}", needs_key=True)
        civitai.put(12345, [version_entry(67890, [file_entry(data)], trainedWords=["furry"])])
        civitai.put(777, [version_entry(778, [], baseModel="Flux.1 D")])
        civitai.serve(67890, data)
        server.configure(models=f'civitai = "http://{host}"\ntokens = ["{host}=env:CIVITAI_TOKEN"]')
        server.variables["CIVITAI_TOKEN"] = KEY
        server.start()

        def add(*source: str) -> "subprocess.CompletedProcess[str]":
            url = ("--url", f"http://127.0.0.1:{server.port}")
            command = [sys.executable, "-m", "api.cli.main", *url, "models", "add", *source, "--json"]
            variables = environment(server.folder)
            return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

        added = add("civitai:12345", "--type", "checkpoint", "--wait")
        assert added.returncode == 0, added.stderr
        model = json.loads(added.stdout)
        assert (model["status"], model["name"]) == ("ready", "Furry Friends v1.0")
        assert (model["revision"], model["trigger_words"]) == ("67890", ["furry"])
        again = add("https://civitai.com/models/12345/furry-friends", "--type", "checkpoint")
        of_openai = {name: model[name] for name in ("id", "object", "created", "owned_by")}
        assert json.loads(again.stdout) | of_openai == model
        refused = add("civitai:777", "--type", "checkpoint", "--wait")
    assert "is for Flux.1 D, which is not supported" in refused.stderr
    assert kept_at_rest(server) == [f"files/{hashlib.sha256(data).hexdigest()}.safetensors"]
    assert KEY not in server.log_tail()


def test_an_upload_becomes_a_model_like_any_other(server_with_api: Server, data: bytes) -> None:
    server = server_with_api
    server.start()
    url = f"http://127.0.0.1:{server.port}/v1/models/upload"
    form = {"model_type": "checkpoint", "tags": ["mine", "new"]}
    for name in ("dreams.safetensors", "../../again.safetensors"):
        answer = httpx.post(url, data=form, files={"file": (name, data)}, timeout=PATIENCE_S)
        assert answer.status_code == 202, answer.text
        row = server.records.wait_for_model(answer.json()["model_id"])
        assert (row.name, row.tags) == (Path(name).stem, ("mine", "new"))
        assert row.sha256 == hashlib.sha256(data).hexdigest()
    assert kept_at_rest(server) == [f"files/{row.sha256}.safetensors"]
    bad = httpx.post(
        url, data={"model_type": "lora"}, files={"file": ("x", b"\x80\x04pickle")}, timeout=PATIENCE_S
    )
    model = httpx.get(f"http://127.0.0.1:{server.port}{bad.headers['location']}")
    wait_for("the model's error", lambda: httpx.get(model.url).json()["status"] == "error")
    assert "pickle" in httpx.get(model.url).json()["error"]["detail"]
    assert kept_at_rest(server) == [f"files/{row.sha256}.safetensors"]


def test_an_upload_that_is_sent_again_is_the_same_model_and_what_it_leaves_behind_can_be_pruned(
    server_with_api: Server, data: bytes
) -> None:
    server = server_with_api
    server.start()
    models = f"http://127.0.0.1:{server.port}/v1/models"
    ids = set()
    for _ in range(2):
        answer = httpx.post(
            f"{models}/upload?wait=30",
            data={"model_type": "checkpoint"},
            files={"file": ("dreams.safetensors", data)},
            headers={"Idempotency-Key": "once"},
            timeout=PATIENCE_S,
        )
        assert answer.json()["status"] == "ready", answer.text
        ids.add(answer.json()["model_id"])
    assert len(ids) == 1
    assert kept_at_rest(server) == [f"files/{hashlib.sha256(data).hexdigest()}.safetensors"]
    assert httpx.post(f"{models}/prune", json={}).json()["models"] == 0, "it is used"
    assert httpx.delete(f"{models}/{ids.pop()}").status_code == 204
    would = httpx.post(f"{models}/prune", json={"dry_run": True}).json()
    assert would == {"models": 1, "size_bytes": len(data), "dry_run": True}
    assert httpx.post(f"{models}/prune", json={}).json() == would | {"dry_run": False}
    wait_for("an empty folder", lambda: kept(server) == [])
