"""A real Chromium, and a real server whose page it opens."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.conftest import installed as installed
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.server import Server

CHROMIUM: Final = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SWITCHES: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = PATIENCE_S * 1_000

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each has a profile of its own in it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    # Its sandbox refuses to run as root.
    switches = [*SWITCHES, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=switches)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody with a browser, who looks at the page of a server; its faults are the test's."""

    server: Server
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)
    """What the page has reported to the browser's console, beside refused requests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/"

    def visit(self, view: str = "create") -> Page:
        """Open a view, such as `gallery?model=x`, and wait until it stands."""
        self.page.goto(f"{self.url}#/{view}")
        expect(self.page.locator("main > *")).to_be_visible()
        return self.page


def visitor_of(chromium: Browser, server: Server, **options: Any) -> Iterator[Visitor]:
    """A visitor of a server that runs; afterwards nothing may have gone wrong in the page."""
    context = chromium.new_context(locale="en-US", reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    visitor = Visitor(server, context, page)
    page.on("pageerror", lambda error: visitor.faults.append(str(error)))
    page.on("console", lambda message: _note(visitor, message))
    try:
        yield visitor
    finally:
        context.close()
    assert visitor.faults == []


def _note(visitor: Visitor, message: ConsoleMessage) -> None:
    """Requests that the server refuses are in the console, too: they are part of ordinary use."""
    if message.type == "error" and "Failed to load resource" not in message.text:
        visitor.faults.append(message.text)


@pytest.fixture(scope="module")
def studio(installed: Path) -> Iterator[Server]:
    """A server with fake engines, with a list of wildcards, and without keys, for all tests of a module."""
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        (folder / "wildcards/animals").mkdir(parents=True)
        (folder / "wildcards/animals/cats.txt").write_text("tiger\nlynx\n", "utf-8")
        server.variables["SPOON_WILDCARDS_FOLDERS"] = str(folder / "wildcards")
        server.start()
        yield server


@pytest.fixture
def visitor(chromium: Browser, studio: Server) -> Iterator[Visitor]:
    """Somebody who has just opened a browser."""
    yield from visitor_of(chromium, studio)
