"""Models of CivitAI from a small site that answers as theirs does: which file comes, and with which token."""

from pathlib import Path
from typing import Any

import pytest

from kernel.protocol.enums import ModelBase, ModelType, Variant
from kernel.protocol.errors import DownloadFailed, ModelUnreadable, SpoonError
from tests.integration.fetch.bench import Bench, model_bytes, sha256
from tests.integration.fetch.site import Handler, breaking, in_turn, redirect
from tests.integration.fetch.small_civitai import KEY, SmallCivitai, answered, file_entry, version_entry
from tests.unit.worker.model_files import VAE_ALONE, write_safetensors

MODEL = "civitai:12345"


def refused(handler: Handler) -> None:
    handler.answer(418, {"Content-Length": "0"})


@pytest.fixture
def civitai(bench: Bench) -> SmallCivitai:
    return SmallCivitai(bench.site)


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return model_bytes(tmp_path)


def put(civitai: SmallCivitai, data: bytes, model: dict[str, Any] | None = None, **version: Any) -> None:
    """The model 12345 with its version 67890."""
    files = version.pop("files", [file_entry(data)])
    civitai.put(12345, [version_entry(67890, files, **version)], **(model or {}))
    civitai.serve(67890, data)


@pytest.mark.parametrize(
    "uri",
    [
        MODEL,
        f"{MODEL}@67890",
        f"{MODEL}@67890+2402203.safetensors",
        "urn:air:sd1:checkpoint:civitai:12345@67890",
        "https://civitai.com/models/12345/furry-friends?modelVersionId=67890",
        "https://civitai.com/api/download/models/67890?type=Model&format=SafeTensor&size=pruned&fp=fp16",
    ],
)
def test_every_spelling_leads_to_the_file_and_its_page(
    bench: Bench, civitai: SmallCivitai, data: bytes, uri: str
) -> None:
    put(civitai, data, trainedWords=["furry, soft fur,<lora:fur:1>", "furry", None])
    found = bench.fetch(uri)
    assert found.stored == f"files/{sha256(data)}.safetensors"
    assert (found.revision, found.title) == ("67890", "Furry Friends v1.0")
    assert found.fingerprint.trigger_words == ("furry", "soft fur")
    assert found.fingerprint.model_base is ModelBase.SD
    assert bench.on_progress[-1][0] == len(data)


def test_without_a_version_the_first_published_one_is_taken_and_kept(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    draft = version_entry(3, [file_entry(data)], status="Draft")
    civitai.put(12345, [draft, version_entry(2, [file_entry(data)]), version_entry(1, [file_entry(data)])])
    civitai.serve(2, in_turn(breaking(data, after=100), refused))
    with pytest.raises(DownloadFailed, match="418"):
        bench.fetch(MODEL)
    civitai.put(12345, [version_entry(4, [file_entry(b"newer")]), version_entry(2, [file_entry(data)])])
    civitai.serve(2, data)
    assert bench.fetch(MODEL).revision == "2"


def test_a_model_that_was_lost_comes_back_in_the_same_version(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    civitai.put(12345, [version_entry(4, [file_entry(b"newer")]), version_entry(2, [file_entry(data)])])
    civitai.serve(2, data)
    assert bench.fetch(MODEL, revision="2").fingerprint.sha256 == sha256(data)


def test_the_primary_safetensors_file_is_chosen_unless_a_precision_is_asked_for(
    bench: Bench, civitai: SmallCivitai, data: bytes, tmp_path: Path
) -> None:
    full = model_bytes(tmp_path, padding=1000)
    address = "https://civitai.com/api/download/models/67890?type=Model&format=SafeTensor&size=full&fp=fp32"
    files = [
        file_entry(b"a pickle", "furry.ckpt", metadata={"format": "PickleTensor"}, id=1),
        file_entry(b"pictures", "furry.zip", type="Training Data", metadata={"format": "Other"}, id=2),
        file_entry(full, metadata={"size": "full", "fp": "fp32"}, primary=False, id=3, downloadUrl=address),
        file_entry(data, id=4),
    ]
    civitai.put(12345, [version_entry(67890, files)])
    civitai.serve(67890, data)
    assert bench.fetch(MODEL).fingerprint.sha256 == sha256(data)
    civitai.serve(67890, full)
    for options in ({"variant": Variant.FP32}, {"sha256": sha256(full)}):
        again = Bench(bench.site, tmp_path / str(options))
        assert again.fetch(MODEL, **options).fingerprint.sha256 == sha256(full)
        assert civitai.asked_for("/api/download")[-1] == address.removeprefix("https://civitai.com")
    with pytest.raises(ModelUnreadable, match=r"no file of version v1\.0 has the declared sha256 aaaa"):
        Bench(bench.site, tmp_path / "none").fetch(MODEL, sha256="a" * 64)


def test_a_vae_beside_its_checkpoint_can_be_meant(
    bench: Bench, civitai: SmallCivitai, data: bytes, tmp_path: Path
) -> None:
    vae = write_safetensors(tmp_path / "vae.safetensors", VAE_ALONE).read_bytes()
    files = [file_entry(data), file_entry(vae, "furry.vae.safetensors", type="VAE", primary=False)]
    civitai.put(12345, [version_entry(67890, files)])
    civitai.serve(67890, vae)
    found = bench.fetch(MODEL, ModelType.VAE)
    assert (found.fingerprint.sha256, found.fingerprint.model_base) == (sha256(vae), ModelBase.SD)


def test_pickles_are_refused_before_they_are_downloaded(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    civitai.put(
        12345, [version_entry(1, [file_entry(data, "furry.ckpt", metadata={"format": "PickleTensor"})])]
    )
    with pytest.raises(ModelUnreadable, match=r"furry\.ckpt is a pickle.*models\.allow_pickle"):
        bench.fetch(MODEL)
    assert civitai.asked_for("/api/download") == []


@pytest.mark.parametrize(
    ("model", "version", "text"),
    [
        ({}, {"baseModel": "Flux.1 D"}, "is for Flux.1 D, which is not supported"),
        ({}, {"baseModel": "SD 2.1 768"}, "is for SD 2.1 768, which is not supported"),
        ({}, {"baseModel": "Pony V7"}, "is for Pony V7, which is not supported"),
        ({}, {"baseModel": "Wan Video 14B t2v"}, "is for Wan Video 14B t2v, which is not supported"),
        ({}, {"baseModelType": "Refiner"}, "is a Refiner model, which is not supported"),
        ({"type": "Hypernetwork"}, {}, "is of type Hypernetwork, which is not supported"),
        ({"type": "LoCon"}, {}, "is of type LoCon there, but was declared as checkpoint"),
        ({}, {"usageControl": "Generation"}, "not be downloaded"),
        ({}, {"status": "Draft"}, "has no published version"),
        ({"mode": "Archived"}, {"files": []}, r"has no files \(Archived\)"),
        ({}, {"files": [file_entry(b"", "a.zip", type="Archive", metadata={"format": "Other"})]}, r"a\.zip"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_before_it_is_downloaded(
    bench: Bench, civitai: SmallCivitai, data: bytes, model: Any, version: Any, text: str
) -> None:
    put(civitai, data, model, **version)
    with pytest.raises(SpoonError, match=text):
        bench.fetch(MODEL)
    assert civitai.asked_for("/api/download") == []
    assert bench.left_behind() == []


@pytest.mark.parametrize("base", ["SDXL 1.0", "Pony", "Illustrious", "NoobAI", "SDXL Lightning"])
def test_another_base_than_the_declared_one_is_said_with_a_version_that_fits(
    bench: Bench, civitai: SmallCivitai, data: bytes, base: str
) -> None:
    versions = [version_entry(9, [], baseModel=base), version_entry(8, [file_entry(data)])]
    civitai.put(12345, versions)
    with pytest.raises(
        ModelUnreadable, match=rf"is for {base} \(sdxl\) there.*one for sd; .*SD 1\.5: civitai:12345@8"
    ):
        bench.fetch(MODEL, model_base=ModelBase.SD)


def test_a_file_that_is_here_is_not_downloaded_again(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    put(civitai, data, trainedWords=["furry"])
    (bench.models / f"files/{sha256(data)}.safetensors").write_bytes(data)
    found = bench.fetch(MODEL)
    assert (found.title, found.fingerprint.trigger_words) == ("Furry Friends v1.0", ("furry",))
    assert civitai.asked_for("/api/download") == []


def test_a_broken_download_goes_on_with_a_new_link(
    bench: Bench, civitai: SmallCivitai, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path, padding=200_000)
    put(civitai, data)
    civitai.serve(67890, breaking(data, after=70_000))
    assert bench.fetch(MODEL).fingerprint.sha256 == sha256(data)
    first, second = [one for one in bench.site.asked if one.path.startswith("/stored/")]
    assert second.headers["range"] == "bytes=70000-"
    assert first.path != second.path


def test_a_download_goes_on_after_a_restart_with_a_new_link(
    bench: Bench, civitai: SmallCivitai, tmp_path: Path
) -> None:
    data = model_bytes(tmp_path, padding=200_000)
    put(civitai, data)
    civitai.serve(67890, in_turn(breaking(data, after=70_000), refused))
    with pytest.raises(DownloadFailed):
        bench.fetch(MODEL)
    civitai.serve(67890, data)
    bench.site.asked.clear()
    assert bench.fetch(MODEL).fingerprint.sha256 == sha256(data)
    assert civitai.asked_for("/api/v1") == []
    assert bench.site.asked[-1].headers["range"] == "bytes=70000-"


def test_a_link_that_is_too_old_is_asked_for_anew(bench: Bench, civitai: SmallCivitai, data: bytes) -> None:
    put(civitai, data)
    good = bench.site.scripts["/api/download/models/67890"]
    old = redirect("https://other.org/stored/67890.safetensors?X-Amz-Signature=old")
    bench.site.scripts["/api/download/models/67890"] = in_turn(old, good)
    assert bench.fetch(MODEL).fingerprint.sha256 == sha256(data)


def test_a_missing_token_is_said_with_the_line_to_set(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    put(civitai, data, availability="EarlyAccess", earlyAccessEndsAt="2026-12-24T12:00:00.000Z")
    civitai.needs_key = True
    with pytest.raises(DownloadFailed) as caught:
        bench.fetch(MODEL)
    assert 'models.tokens = ["civitai.com=env:CIVITAI_TOKEN"]' in caught.value.detail
    assert "early access until 2026-12-24" in caught.value.detail


def test_a_token_goes_to_the_site_and_not_to_its_storage(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    put(civitai, data)
    civitai.needs_key, bench.tokens = True, {"civitai.com": KEY}
    assert bench.fetch(MODEL).fingerprint.sha256 == sha256(data)
    said = {one.path.split("?")[0]: one.headers.get("authorization") for one in bench.site.asked}
    assert said == {
        "/api/v1/models/12345": f"Bearer {KEY}",
        "/api/download/models/67890": f"Bearer {KEY}",
        "/stored/67890.safetensors": None,
    }


def test_an_address_in_an_answer_leads_to_no_other_host(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    bench.tokens = {"civitai.com": KEY, "other.org": "another"}
    entry = file_entry(data, downloadUrl="https://other.org/api/download/models/67890")
    civitai.put(12345, [version_entry(67890, [entry])])
    civitai.serve(67890, data)
    bench.fetch(MODEL)
    assert all("another" not in one.headers.get("authorization", "") for one in bench.site.asked)


def test_an_address_in_an_answer_leads_to_downloads_only(bench: Bench, civitai: SmallCivitai) -> None:
    civitai.put(12345, [version_entry(5, [file_entry(b"x", downloadUrl="https://civitai.com/api/v1/me")])])
    with pytest.raises(DownloadFailed, match="not one of a download"):
        bench.fetch(MODEL)


def test_a_login_page_is_recognized(bench: Bench, civitai: SmallCivitai, data: bytes) -> None:
    put(civitai, data)
    bench.site.scripts["/api/download/models/67890"] = redirect("https://civitai.com/login?returnUrl=x")
    bench.site.scripts["/login"] = answered(b"<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(DownloadFailed, match=r"a web page.*civitai\.com=env:CIVITAI_TOKEN"):
        bench.fetch(MODEL)
    assert bench.left_behind() == []


def test_another_digest_than_the_site_says_is_not_believed(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    put(civitai, data)
    civitai.serve(67890, data[:-1] + b"x")
    with pytest.raises(DownloadFailed, match="sha256"):
        bench.fetch(MODEL)
    assert bench.left_behind() == []


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, b'{"error": "No model with id 12345"}', "civitai.com has no model 12345"),
        (401, b"{}", r'refuses access to the model 12345.*models\.tokens = \["civitai\.com=env'),
        (403, b"<html>Just a moment", r"status 403.*models\.tokens"),
        (503, b"<html>", "temporarily unavailable.*retry later"),
        (200, b"<!DOCTYPE html><html>", "does not answer like CivitAI"),
        (200, b"[]", "does not answer like CivitAI"),
        (200, b"[" * 100_000, "does not answer like CivitAI"),
        (200, b'{"name": "\xff"}', "does not answer like CivitAI"),
        (200, b'{"name": 5, "type": "LORA"}', r"does not answer like CivitAI: Expected `str`.*\$\.name"),
        (200, b'{"name": "a", "type": "Checkpoint", "modelVersions": [{"id": -1}]}', "CivitAI: Expected"),
        (200, b'{"name": "a", "type": "Checkpoint"}', "no published version"),
        (
            200,
            b'{"name": "a", "type": "Checkpoint", "modelVersions": [{"id": 1, "name": "b", "files": '
            b'[{"name": "c", "hashes": {"SHA256": "../../../etc/passwd"}}]}]}',
            "CivitAI: Expected `str` matching regex",
        ),
    ],
)
def test_an_odd_answer_is_one_clear_error(bench: Bench, status: int, body: bytes, text: str) -> None:
    bench.site.scripts["/api/v1/models/12345"] = answered(body, status)
    with pytest.raises(DownloadFailed, match=text):
        bench.fetch(MODEL)
    assert bench.left_behind() == []


def test_an_endless_answer_is_cut_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine_worker.fetch.net.http_client.MAX_SMALL_BYTES", 1000)
    bench.site.scripts["/api/v1/models/12345"] = answered(b" " * 2000)
    with pytest.raises(DownloadFailed, match="more than 1000 bytes"):
        bench.fetch(MODEL)


def test_a_version_of_another_model_is_said(bench: Bench, civitai: SmallCivitai, data: bytes) -> None:
    put(civitai, data)
    with pytest.raises(DownloadFailed, match="one of model 12345, not of 777: use civitai:12345@67890"):
        bench.fetch("civitai:777@67890")


def test_a_machine_without_a_network_hears_it_in_one_sentence(bench: Bench) -> None:
    del bench.names.known["civitai.com"]
    with pytest.raises(DownloadFailed, match=r"cannot find the site https://civitai\.com: .*offline"):
        bench.fetch(MODEL)


def test_another_address_of_the_site_may_be_asked(bench: Bench, data: bytes) -> None:
    civitai = SmallCivitai(bench.site, storage="http://inside.lan")
    put(civitai, data)
    bench.civitai, bench.allow_hosts = "http://inside.lan", frozenset({"inside.lan"})
    bench.tokens = {"civitai.com": KEY}
    assert bench.fetch(MODEL).fingerprint.sha256 == sha256(data)
    assert set(bench.internet.connected) == {"192.168.1.5"}
    assert not any("authorization" in one.headers for one in bench.site.asked)


def test_a_model_that_was_complete_when_the_worker_died_keeps_what_its_page_said(
    bench: Bench, civitai: SmallCivitai, data: bytes
) -> None:
    put(civitai, data, trainedWords=["furry"])

    first = bench.fetch(MODEL)
    bench.site.asked.clear()
    assert bench.fetch(MODEL) == first
    assert bench.site.asked == []
