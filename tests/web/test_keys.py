"""The page of a server with API keys: somebody signs in, sees what is theirs, and signs out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.processes import environment
from tests.acceptance.server import Server
from tests.web.conftest import Visitor, visitor_of


class Shared:
    """A server with a key for each role."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.keys = {role: self._made(role) for role in ("admin", "user", "viewer")}

    def _made(self, role: str) -> str:
        command = [sys.executable, "-m", "api.cli.main", "--config", str(self.server.config_file)]
        made = subprocess.run(
            [*command, "keys", "create", f"{role}-of-the-house", "--role", role],
            env=environment(self.server.folder),
            capture_output=True,
            text=True,
            check=True,
        )
        return made.stdout.strip()


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
