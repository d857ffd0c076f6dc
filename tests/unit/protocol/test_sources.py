"""Where models come from: addresses taken apart alike by every process."""

from dataclasses import replace

import pytest

from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.join import FetchTerms
from kernel.protocol.sources import (
    BadSource,
    CivitaiSource,
    HubSource,
    LocalSource,
    UploadedSource,
    WebSource,
    check_host,
    default_name,
    incoming_name,
    is_repository,
    is_stored_name,
    parse_source,
)


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://example.org/a?b=c", WebSource("https://example.org/a?b=c")),
        ("http://[2606:4700::1111]:8080/a", WebSource("http://[2606:4700::1111]:8080/a")),
        ("file:///a%20b", LocalSource("file:///a%20b")),
        ("hf://owner/repo", HubSource("owner/repo")),
        ("hf://owner/re.po-1@refs%2Fpr%2F1", HubSource("owner/re.po-1", "refs/pr/1")),
        ("hf://owner/repo/a/b.safetensors", HubSource("owner/repo", None, "a/b.safetensors")),
        ("hf://owner/repo@v1/a%20b.onnx", HubSource("owner/repo", "v1", "a b.onnx")),
        (f"upload:{'a' * 32}/my%20model", UploadedSource("a" * 32, "my model")),
    ],
)
def test_an_address_is_taken_apart(uri: str, source: object) -> None:
    assert parse_source(uri) == source


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "owner/repo",
        "ftp://a/b",
        "file://host/a",
        "stored:files/a",
        "upload:../../etc/passwd",
        f"upload:{'A' * 32}/a",
        f"upload:{'a' * 32}/a/b",
        "hf://owner",
        "hf://owner/repo/",
        "hf://owner/repo/a/../b",
        "hf://owner/repo/%2e%2e/b",
        "hf://-owner/repo",
        "hf://owner/re..po",
        "hf://owner/re--po",
        "https://",
        "https://a b/",
        "https://a\\b/",
        "https://user@a/",
        "https://a:0/",
        "https://a:65536/",
        "https://[::1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://1.2.3.4./",
        "https://[fe80::1%25lo]/",
        "https://a..0x1/",
    ],
)
def test_what_is_no_address_of_a_model_is_refused(uri: str) -> None:
    with pytest.raises(BadSource):
        parse_source(uri)


BOTH = CivitaiSource(12345, 67890)
LORA = CivitaiSource(12345, 67890, model_type=ModelType.LORA, model_base=ModelBase.SD)
SAFE = (("format", "SafeTensor"),)
XL = CivitaiSource(1, 2, None, SAFE, ModelType.CHECKPOINT, ModelBase.SDXL)
DOWNLOAD = "https://civitai.com/api/download/models/67890"


@pytest.mark.parametrize(
    ("uri", "source", "usual"),
    [
        ("civitai:12345", CivitaiSource(12345), "civitai:12345"),
        ("CivitAI:12345@67890", BOTH, "civitai:12345@67890"),
        ("civitai:12345@67890+5.ckpt", CivitaiSource(12345, 67890, 5, (("format", "PickleTensor"),)), None),
        ("urn:air:sd1:lora:civitai:12345@67890", LORA, "civitai:12345@67890"),
        ("URN:AIR:SD1:LORA:CIVITAI:12345@67890", LORA, "civitai:12345@67890"),
        ("air:sd15:dora:civitai:12345@67890", LORA, "civitai:12345@67890"),
        ("sd1:locon:civitai:12345@67890", LORA, "civitai:12345@67890"),
        (
            "urn:air:pony:checkpoint:civitai:1@2.safetensor",
            XL,
            "civitai:1@2.safetensors",
        ),
        ("urn:air:sdxl:model:civitai:1", replace(XL, version=None, properties=()), "civitai:1"),
        ("urn:air:other:embedding:civitai:1", CivitaiSource(1, model_type=ModelType.EMBEDDING), "civitai:1"),
        ("urn:air:vae:civitai:1", CivitaiSource(1, model_type=ModelType.VAE), "civitai:1"),
        ("https://civitai.com/models/12345", CivitaiSource(12345), "civitai:12345"),
        ("http://www.civitai.com:80/models/12345/a-name/", CivitaiSource(12345), "civitai:12345"),
        ("https://CIVITAI.RED/models/12345/a%20b?modelVersionId=67890&a=b#c", BOTH, "civitai:12345@67890"),
        ("https://civitai.green./models/12345?modelVersionId=67890", BOTH, "civitai:12345@67890"),
        ("https://civitai.com/api/v1/models/12345", CivitaiSource(12345), "civitai:12345"),
        ("https://civitai.com/api/v1/model-versions/67890", CivitaiSource(None, 67890), DOWNLOAD),
        (
            "https://civitai.red/api/download/models/67890?type=Model&format=SafeTensor&fp=fp16&x=y",
            CivitaiSource(None, 67890, None, (("type", "Model"), *SAFE, ("fp", "fp16"))),
            f"{DOWNLOAD}?type=Model&format=SafeTensor&fp=fp16",
        ),
        (f"{DOWNLOAD}?type=VAE&fileId=5", CivitaiSource(None, 67890, 5, (("type", "VAE"),)), None),
    ],
)  # fmt: skip
def test_every_spelling_of_a_model_on_civitai_is_understood_and_has_one_usual_form(
    uri: str, source: CivitaiSource, usual: str | None
) -> None:
    assert parse_source(uri) == source
    assert source.uri == usual or usual is None
    plain = parse_source(source.uri)
    assert isinstance(plain, CivitaiSource)
    assert (plain.uri, plain.default_name) == (source.uri, source.default_name)


@pytest.mark.parametrize(
    "uri",
    [
        "https://civitai.com.example.org/models/1",
        "https://notcivitai.com/models/1",
        "https://images.civitai.com/models/1",
        "https://civitai.com:8443/models/1",
    ],
)
def test_another_host_is_not_taken_for_civitai(uri: str) -> None:
    assert parse_source(uri) == WebSource(uri)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("urn:air:flux1:lora:civitai:1@2", "for flux1, which is not supported: only sd1 and sdxl"),
        ("urn:air:sd2:checkpoint:civitai:1@2", "for sd2, which is not supported"),
        ("urn:air:wanvideo14b:lora:civitai:1@2", "for wanvideo14b, which is not supported"),
        ("urn:air:sdxl:hypernet:civitai:1@2", "of type hypernet, which is not supported"),
        ("urn:air:sdxl:vae:huggingface:stabilityai/sdxl-vae", "another site"),
        ("urn:air:", "another site"),
        ("civitai:1@2.gguf", "the format gguf, which is not supported"),
        ("civitai:", "civitai:MODEL@VERSION"),
        ("civitai:name", "civitai:MODEL@VERSION"),
        ("civitai:0", "civitai:MODEL@VERSION"),
        ("civitai:007", "civitai:MODEL@VERSION"),
        ("civitai:-1", "civitai:MODEL@VERSION"),
        ("civitai:1@", "civitai:MODEL@VERSION"),
        ("civitai:1@latest", "civitai:MODEL@VERSION"),
        ("civitai:1@2/../3", "civitai:MODEL@VERSION"),
        ("civitai:1?x=y", "civitai:MODEL@VERSION"),
        ("civitai:1\n", "civitai:MODEL@VERSION"),
        ("civitai:\u0661\u0662", "civitai:MODEL@VERSION"),
        ("civitai:" + "1" * 4_000, "civitai:MODEL@VERSION"),
        ("a:b:c:civitai:1", "civitai:MODEL@VERSION"),
        ("urn:air:sdxl:lora:civitai:1@2:layer", "civitai:MODEL@VERSION"),
        ("https://civitai.com", "shows no model"),
        ("https://civitai.com/images/123", "shows no model"),
        ("https://civitai.com/models/", "shows no model"),
        ("https://civitai.com/models/%31", "shows no model"),
        ("https://civitai.com/models/../api/v1/me", "shows no model"),
        ("https://civitai.com/api/download/models/1/../../../v1/me", "shows no model"),
        ("https://civitai.com/models/1?modelVersionId=x", "one number as modelVersionId"),
        ("https://civitai.com/models/1?modelVersionId=", "one number as modelVersionId"),
        ("https://civitai.com/models/1?modelVersionId=1&modelVersionId=2", "one number as modelVersionId"),
        ("https://civitai.com/models/1?" + "a=b&" * 100, "too many"),
        (
            "https://civitai.com/api/download/models/1?token=abc",
            "must not contain a token: set models.tokens",
        ),
        ("https://user@civitai.com/models/1", "user name"),
    ],
)
def test_what_is_no_model_on_civitai_is_refused_with_the_reason(uri: str, problem: str) -> None:
    with pytest.raises(BadSource, match=problem):
        parse_source(uri)


def test_a_model_on_civitai_has_a_name_until_its_title_is_known() -> None:
    assert default_name("https://civitai.com/models/1/a-name?modelVersionId=2") == "civitai-1-2"
    assert default_name("civitai:1") == "civitai-1"
    assert default_name("https://civitai.com/api/download/models/2") == "civitai-version-2"
    assert default_name("https://example.org/a.safetensors") is None
    assert default_name("civitai:x") is None


def test_a_bare_path_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(BadSource, match=r"write file:///w/fox\.safetensors"):
        parse_source("/w/fox.safetensors")


@pytest.mark.parametrize(
    "host", ["example.org", "example.org.", "127.0.0.1", "::1", "xn--bcher-kva.example", "a1"]
)
def test_an_ordinary_host_is_let_through(host: str) -> None:
    check_host(host)


def test_names_of_repositories_are_known() -> None:
    assert is_repository("owner/dreams-1.5")
    assert not any(map(is_repository, ("dreams", "a/b/c", "owner/", "/repo", "a b/c", "owner/.repo")))


def test_stored_names_are_made_of_digests_alone() -> None:
    assert is_stored_name(f"files/{'a' * 64}.safetensors")
    assert is_stored_name(f"trees/{'0' * 64}")
    for name in (
        "files/a.safetensors",
        f"files/{'a' * 64}.py",
        f"trees/{'a' * 64}/../x",
        f"/files/{'a' * 64}.onnx",
    ):
        assert not is_stored_name(name)
    assert incoming_name(ModelId("m")) == "incoming/m"


def test_terms_do_not_show_their_tokens() -> None:
    terms = FetchTerms(folder="/m", max_bytes=1, min_free_bytes=1, tokens={"example.org": "s3cret"})
    assert "s3cret" not in repr(terms)
    assert "example.org" in repr(terms)
