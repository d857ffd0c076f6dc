"""Signed links: they work for an hour, over restarts, and not when anything in them was changed."""

import stat
from pathlib import Path

import pytest

from api.http.compat.openai.signed_links import LIFE_S, SignedLinks
from api.http.contract.errors import BadSignature, LinkExpired

NOW_MS = 1_000_000


def parts_of(link: str) -> tuple[int, str]:
    _, _, query = link.partition("?expires=")
    expires, _, signature = query.partition("&signature=")
    return int(expires), signature


@pytest.fixture
def links(tmp_path: Path) -> SignedLinks:
    return SignedLinks(tmp_path / "links.key")


def test_a_link_works_until_it_expires(links: SignedLinks) -> None:
    expires, signature = parts_of(links.link_to("i1", NOW_MS))
    links.check("i1", expires, signature, NOW_MS + LIFE_S * 1_000 - 1)
    with pytest.raises(LinkExpired):
        links.check("i1", expires, signature, NOW_MS + LIFE_S * 1_000)


def test_a_link_works_after_a_restart_and_nowhere_else(links: SignedLinks, tmp_path: Path) -> None:
    expires, signature = parts_of(links.link_to("i1", NOW_MS))
    SignedLinks(tmp_path / "links.key").check("i1", expires, signature, NOW_MS)
    with pytest.raises(BadSignature):
        SignedLinks(tmp_path / "other.key").check("i1", expires, signature, NOW_MS)


def test_a_link_that_was_changed_does_not_work(links: SignedLinks) -> None:
    expires, signature = parts_of(links.link_to("i1", NOW_MS))
    for at in range(len(signature)):
        other = "A" if signature[at] != "A" else "B"
        with pytest.raises(BadSignature):
            links.check("i1", expires, signature[:at] + other + signature[at + 1 :], NOW_MS)
    for image_id, until, signed in (
        ("i2", expires, signature),
        ("i1", expires + 1, signature),
        ("i1", expires, ""),
        ("i1", expires, f"{signature}="),
        ("i1", expires, "\ud800\u00e9"),
    ):
        with pytest.raises(BadSignature):
            links.check(image_id, until, signed, NOW_MS)


def test_the_secret_is_private_and_made_once(links: SignedLinks, tmp_path: Path) -> None:
    assert not list(tmp_path.iterdir())
    links.link_to("i1", NOW_MS)
    (file,) = tmp_path.iterdir()
    secret = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(secret) == 32
    SignedLinks(file).link_to("i1", NOW_MS)
    assert (list(tmp_path.iterdir()), file.read_bytes()) == ([file], secret)
