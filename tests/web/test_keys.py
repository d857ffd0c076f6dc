"""The page of a server with API keys: somebody signs in, sees what is theirs, and signs out."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.server import Server
from tests.web.conftest import Visitor, visitor_of


class Shared:
    """A server with a key for each role."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.keys = {
            role: server.make_key(f"{role}-of-the-house", role) for role in ("admin", "user", "viewer")
        }


@pytest.fixture(scope="module")
def shared(installed: Path) -> Iterator[Shared]:
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        yield Shared(server)


@pytest.fixture
def guest(chromium: Browser, shared: Shared) -> Iterator[Visitor]:
    yield from visitor_of(chromium, shared.server)


def test_somebody_signs_in_and_stays_signed_in(guest: Visitor, shared: Shared) -> None:
    page = guest.visit("queue")
    dialog = page.get_by_role("dialog", name="Sign in")
    dialog.get_by_label("API key").fill("wrong")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).not_to_be_empty()
    dialog.get_by_label("API key").fill(shared.keys["user"])
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).not_to_be_visible()
    expect(page.get_by_text("user-of-the-house")).to_be_visible()
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    expect(page.get_by_role("button", name="Pause all")).not_to_be_visible()
    page.reload()
    expect(page.get_by_text("user-of-the-house")).to_be_visible()
    (cookie,) = guest.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert shared.keys["user"] not in kept
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_an_admin_may_pause_what_a_viewer_may_only_watch(guest: Visitor, shared: Shared) -> None:
    page = guest.visit("queue")
    page.get_by_label("API key").fill(shared.keys["admin"])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pause all").click()
    expect(page.get_by_role("button", name="Resume all")).to_be_visible()
    page.get_by_role("button", name="Resume all").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").fill(shared.keys["viewer"])
    page.keyboard.press("Enter")
    expect(page.get_by_text("viewer-of-the-house")).to_be_visible()
    expect(page.get_by_role("button", name="all")).to_have_count(0)


def test_an_admin_makes_a_key_whose_secret_is_shown_once_and_revokes_it(
    guest: Visitor, shared: Shared
) -> None:
    page = guest.visit("system")
    page.get_by_label("API key").fill(shared.keys["admin"])
    page.keyboard.press("Enter")
    keys = page.get_by_role("list", name="API keys")
    own = keys.get_by_role("listitem").filter(has_text="admin-of-the-house")
    expect(own.get_by_text("Yours")).to_be_visible()
    expect(own.get_by_role("button", name="Revoke")).to_have_count(0)
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("admin-of-the-house")
    dialog.get_by_label("Role").select_option("viewer")
    page.get_by_label("Valid for").press("Enter")
    expect(dialog.get_by_text("admin-of-the-house")).to_be_visible()  # the name is taken
    dialog.get_by_label("Name").fill("anna")
    page.get_by_label("Valid for").press("Enter")
    secret = page.get_by_role("dialog", name="The key anna").locator("pre").inner_text()
    page.keyboard.press("Escape")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{guest.url}v1/session", headers=bearer).json()["role"] == "viewer"
    anna = keys.get_by_role("listitem").filter(has_text="anna")
    anna.get_by_role("button", name="Replace the secret").click()
    page.get_by_role("dialog").get_by_role("button", name="Replace the secret").click()
    old, new = secret, page.get_by_role("dialog", name="The key anna").locator("pre")
    expect(new).to_be_visible()
    secret = new.inner_text()
    page.keyboard.press("Escape")
    assert httpx.get(f"{guest.url}v1/session", headers=bearer).status_code == 401
    assert secret != old
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{guest.url}v1/session", headers=bearer).json()["role"] == "viewer"
    anna.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(anna.get_by_text("Revoked")).to_be_visible()
    assert httpx.get(f"{guest.url}v1/session", headers=bearer).status_code == 401
    assert secret not in page.content()


def test_a_viewer_sees_models_engines_and_the_system_but_no_buttons_of_admins(
    guest: Visitor, shared: Shared
) -> None:
    page = guest.visit("models")
    page.get_by_label("API key").fill(shared.keys["viewer"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="plain")).to_be_visible()
    for name in ("Add a model", "Scan my folders", "Delete"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    guest.visit("engines")
    expect(page.get_by_text("No engines yet")).to_be_visible()
    expect(page.get_by_role("button", name="Create an engine")).to_have_count(0)
    guest.visit("system")
    expect(page.get_by_text("enough free space")).to_be_visible()
    expect(page.get_by_text("API keys")).to_have_count(0)
