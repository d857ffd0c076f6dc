"""Everybody can use the page: axe finds nothing in any view, in light and dark, wide and narrow."""

from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.server import Server
from tests.web.conftest import Visitor, visitor_of

AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
VIEWS: Final = ("create", "queue", "gallery", "models", "engines", "system")
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light, wide": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark, narrow": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}, "has_touch": True},
}
NARROW_PX: Final = 360
ROUNDS: Final = 3
"""Around the page with Tab: what the server has told late was not there in the first."""

pytestmark = pytest.mark.skipif(not AXE.exists(), reason="the packages of tests/web are not installed")


def faults(page: Page) -> list[str]:
    """What axe finds, a line for each rule: its name, and where."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {', '.join(str(node['target']) for node in one['nodes'])}"
        for one in found["violations"]
    ]


@pytest.fixture(scope="module")
def used(studio: Server) -> Server:
    """A server with something to see in every view: an engine, jobs that run, failed and finished, images."""
    with httpx.Client(base_url=f"http://127.0.0.1:{studio.port}", timeout=PATIENCE_S) as http:
        for prompt in ("a red fox", "[fail] a vase", "[slow 200ms] a heron"):
            job = {"checkpoint": PLAIN, "prompt": prompt, "width": 64, "height": 64, "steps": 1}
            wait = "" if "slow" in prompt else f"?wait={PATIENCE_S:g}"
            http.post(f"/v1/jobs{wait}", json=job | ({"steps": 500} if "slow" in prompt else {}))
    return studio


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(view: str, look: str, used: Server, chromium: Browser) -> None:
    for visitor in visitor_of(chromium, used, **LOOKS[look]):
        page = visitor.visit(view)
        expect(page.locator("h1")).to_be_visible()
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


def test_the_page_can_be_mirrored(used: Server, chromium: Browser) -> None:
    """In a language that is written from right to left nothing sticks out or overlaps the edge."""
    for visitor in visitor_of(chromium, used, **LOOKS["dark, narrow"]):
        for view in VIEWS:
            page = visitor.visit(view)
            page.evaluate("document.documentElement.dir = 'rtl'")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_everything_can_be_reached_by_keyboard(visitor: Visitor) -> None:
    """Tab comes by every control that a mouse could press, and what has the focus can be seen."""
    for view in VIEWS:
        page = visitor.visit(view)
        expect(page.locator("h1")).to_be_visible()
        page.evaluate(
            "() => { document.activeElement.blur(); window.reached = new Set(); "
            "addEventListener('focusin', (event) => window.reached.add(event.target), true) }"
        )
        missed: list[str] = []
        for _ in range(ROUNDS):
            for _ in range(page.evaluate(CONTROLS + ".length") + 5):
                page.keyboard.press("Tab")
            missed = page.evaluate(
                f"{CONTROLS}.filter((one) => !window.reached.has(one))"
                ".map((one) => one.outerHTML.slice(0, 120))"
            )
            if not missed:
                break
        assert missed == [], view


CONTROLS: Final = (
    "[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]"
    ".filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0 "
    "&& !(one.type === 'radio' && !one.checked))"
)
