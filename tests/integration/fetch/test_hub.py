"""The hub's client against a small hub: which files come, at which commit, and with which token."""

from pathlib import Path

import pytest

from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import DownloadFailed
from tests.integration.fetch.bench import Bench, model_bytes, sha256
from tests.integration.fetch.internet import PUBLIC
from tests.integration.fetch.site import breaking, file
from tests.integration.fetch.small_hub import NEW, OLD, SmallHub
from tests.unit.worker.model_files import write_diffusers_folder

REPO = "hf://owner/dreams"


@pytest.fixture
def hub(bench: Bench) -> SmallHub:
    return SmallHub(bench.site)


def folder_files(folder: Path, **options: object) -> dict[str, bytes]:
    made = write_diffusers_folder(folder, **options)  # type: ignore[arg-type]
    return {str(one.relative_to(made)): one.read_bytes() for one in made.rglob("*") if one.is_file()}


def test_the_only_weights_of_a_repository_are_taken(bench: Bench, hub: SmallHub, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    hub.put(OLD, {"README.md": b"# Dreams", "dreams.safetensors": data, "dreams.ckpt": b"a pickle"})
    found = bench.fetch(REPO)
    assert (found.stored, found.revision) == (f"files/{sha256(data)}.safetensors", OLD)
    assert hub.downloaded() == [f"{OLD}/dreams.safetensors"]


def test_a_diffusers_repository_comes_as_a_folder_of_what_is_loaded(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    files = folder_files(tmp_path / "made")
    more = {
        "unet/diffusion_pytorch_model.fp16.safetensors": b"other precision",
        "unet/diffusion_pytorch_model.bin": b"a pickle",
        "safety_checker/model.safetensors": b"not loaded",
        "unet/run_me.py": b"import os",
        "dreams-pruned.ckpt": b"a pickle",
        "../../escape.json": b"{}",
    }
    hub.put(OLD, files | more)
    found = bench.fetch(REPO)
    assert found.stored is not None
    assert found.stored.startswith("trees/")
    assert found.fingerprint.model_base is ModelBase.SD
    ready = bench.staging / "ready"
    assert sorted(str(one.relative_to(ready)) for one in ready.rglob("*") if one.is_file()) == sorted(files)
    assert found.fingerprint.prediction_type == "v_prediction"
    assert bench.on_progress[-1][0] == bench.on_progress[-1][1]


def test_a_retry_goes_on_with_the_commit_that_it_began_with(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    old = folder_files(tmp_path / "old")
    hub.put(OLD, old)
    name = "unet/diffusion_pytorch_model.safetensors"
    hub.site.scripts[f"/cdn/{OLD}/{name}"] = lambda handler: handler.answer(418, {"Content-Length": "0"})
    with pytest.raises(DownloadFailed):
        bench.fetch(REPO)
    hub.put(NEW, folder_files(tmp_path / "new", is_sdxl=True))
    hub.site.scripts[f"/cdn/{OLD}/{name}"] = file(old[name])
    before = len(hub.downloaded())
    found = bench.fetch(REPO)
    assert (found.revision, found.fingerprint.model_base) == (OLD, ModelBase.SD)
    assert all(one.startswith(OLD) for one in hub.downloaded())
    assert f"{OLD}/model_index.json" not in hub.downloaded()[before:]


def test_a_model_that_was_lost_comes_back_at_the_same_commit(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path)
    hub.put(OLD, {"dreams.safetensors": data})
    hub.put(NEW, {"dreams.safetensors": b"another"})
    assert bench.fetch(REPO, revision=OLD).fingerprint.sha256 == sha256(data)


def test_a_file_of_the_hub_is_taken_up_where_its_line_broke(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path, padding=200_000)
    hub.put(OLD, {"dreams.safetensors": data})
    hub.site.scripts[f"/cdn/{OLD}/dreams.safetensors"] = breaking(data, after=70_000)
    assert bench.fetch(REPO).fingerprint.sha256 == sha256(data)
    assert bench.site.asked[-1].headers["range"] == "bytes=70000-"


def test_a_revision_and_a_file_can_be_named(bench: Bench, hub: SmallHub, tmp_path: Path) -> None:
    first, second = model_bytes(tmp_path), model_bytes(tmp_path, padding=1000)
    hub.put(OLD, {"a.safetensors": first, "b.safetensors": second})
    hub.put(NEW, {"a.safetensors": second})
    found = bench.fetch(f"{REPO}@{OLD}/a.safetensors")
    assert (found.revision, found.fingerprint.sha256) == (OLD, sha256(first))


def test_several_files_that_could_be_meant_are_named(bench: Bench, hub: SmallHub, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    hub.put(OLD, {"a.safetensors": data, "b.safetensors": data})
    with pytest.raises(DownloadFailed, match=r"hf://owner/name/a\.safetensors.*b\.safetensors"):
        bench.fetch(REPO)
    assert bench.left_behind() == []


def test_of_the_same_weights_in_two_precisions_one_is_chosen(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path)
    hub.put(OLD, {"dreams.fp16.safetensors": b"other", "dreams.safetensors": data})
    assert bench.fetch(REPO).fingerprint.sha256 == sha256(data)


def test_a_file_that_is_not_there_is_said_with_those_that_are(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    hub.put(OLD, {"a.safetensors": model_bytes(tmp_path)})
    with pytest.raises(DownloadFailed, match=r"no file b\.safetensors.*a\.safetensors"):
        bench.fetch(f"{REPO}/b.safetensors")


def test_pickles_of_a_repository_are_not_taken_by_themselves(bench: Bench, hub: SmallHub) -> None:
    hub.put(OLD, {"dreams.ckpt": b"a pickle"})
    with pytest.raises(DownloadFailed, match="only pickled weights"):
        bench.fetch(REPO)


def test_a_private_repository_needs_a_token_that_goes_nowhere_else(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path)
    hub.put(OLD, {"dreams.safetensors": data})
    hub.token = "hf_secret"
    with pytest.raises(DownloadFailed, match=r"no repository owner/dreams, or it is private.*models\.tokens"):
        bench.fetch(REPO)
    bench.site.asked.clear()
    bench.tokens = {"huggingface.co": "hf_secret"}
    assert bench.fetch(REPO).fingerprint.sha256 == sha256(data)
    said = {one.path.split("/")[1]: one.headers.get("authorization") for one in bench.site.asked}
    assert said == {"api": "Bearer hf_secret", "owner": "Bearer hf_secret", "cdn": None}


def test_a_token_of_the_environment_is_not_used(
    bench: Bench, hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.put(OLD, {"dreams.safetensors": model_bytes(tmp_path)})
    bench.fetch(REPO)
    assert not any("authorization" in one.headers for one in bench.site.asked)


def test_a_machine_without_a_network_hears_it_in_one_sentence(bench: Bench) -> None:
    del bench.names.known["huggingface.co"]
    with pytest.raises(DownloadFailed) as caught:
        bench.fetch(REPO)
    assert caught.value.detail == (
        "cannot find the hub https://huggingface.co: this server seems to be offline; "
        "local files and uploads work without it"
    )
    bench.names.known["huggingface.co"] = [(PUBLIC,)]
    bench.internet.site_port = 1
    with pytest.raises(DownloadFailed) as caught:
        bench.fetch(REPO)
    assert "cannot reach" in caught.value.detail
    assert "offline" in caught.value.detail
    assert "\n" not in caught.value.detail
    assert bench.left_behind() == []


def test_a_hub_that_is_switched_off_by_the_environment_is_not_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="HF_HUB_OFFLINE is set"):
        bench.fetch(REPO)
    assert bench.internet.connected == []


@pytest.mark.parametrize("body", [b"<html>hello", b"[]", b'{"siblings": 5}', b'{"id": "x", "siblings": []}'])
def test_what_is_no_hub_is_recognized(bench: Bench, body: bytes) -> None:
    bench.site.scripts["/api/models/owner/dreams"] = file(body)
    with pytest.raises(DownloadFailed):
        bench.fetch(REPO)
    assert bench.left_behind() == []


def test_an_endless_answer_of_a_hub_is_cut_off(
    bench: Bench, hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_worker.fetch.net.http_client.MAX_SMALL_BYTES", 1000)
    bench.site.scripts["/api/models/owner/dreams"] = file(b" " * 2000)
    with pytest.raises(DownloadFailed, match="more than 1000 bytes"):
        bench.fetch(REPO)


def test_a_mirror_of_ones_own_may_be_asked(bench: Bench, hub: SmallHub, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    hub.put(OLD, {"dreams.json": b"{}", "dreams.safetensors": data})
    hub.site.scripts[f"/owner/dreams/resolve/{OLD}/dreams.safetensors"] = file(data)
    bench.hub, bench.allow_hosts = "http://inside.lan", frozenset({"inside.lan"})
    assert bench.fetch(REPO, ModelType.CHECKPOINT).fingerprint.sha256 == sha256(data)
    assert bench.internet.connected == ["192.168.1.5"]


def test_a_hub_that_says_another_digest_than_its_file_has_is_not_believed(
    bench: Bench, hub: SmallHub, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path, padding=1000)
    hub.put(OLD, {"dreams.safetensors": data})
    hub.site.scripts[f"/cdn/{OLD}/dreams.safetensors"] = file(data[:-1] + b"x")
    with pytest.raises(DownloadFailed, match="sha256"):
        bench.fetch(REPO)
    assert bench.left_behind() == []
