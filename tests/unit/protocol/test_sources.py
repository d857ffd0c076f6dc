"""Where models come from: addresses taken apart alike by every process."""

import pytest

from kernel.protocol.ids import ModelId
from kernel.protocol.join import FetchTerms
from kernel.protocol.sources import (
    BadSource,
    HubSource,
    LocalSource,
    UploadedSource,
    WebSource,
    check_host,
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
