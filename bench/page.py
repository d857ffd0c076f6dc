"""How soon does the web page show something? `python -m bench.page`

A real server with fake engines, and a real Chromium with an empty cache: from the navigation to the first
contentful paint, to the largest, and until the view stands, wide and without throttling. The floor, in turns
with it, is a page of one heading from the same server (the API's description of an error). Needs playwright
and Chromium, as the tests of the page do.
"""

import shutil
import sys
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from bench.attack.stage import victim
from bench.report import Goal, Spread, print_report

ROUNDS: Final = 9
GOALS: Final = {"first_paint_ms": Goal(500.0)}
PAINTED: Final = """() => {
    const paint = performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint');
    const files = performance.getEntriesByType('resource');
    return {
        paint_ms: paint ? paint.startTime : null,
        stands_ms: performance.now(),
        requests: files.length + 1,
        bytes: files.reduce((sum, one) => sum + one.encodedBodySize, 0),
    };
}"""
SWITCHES: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is not installed")
    figures: Figures = {}
    with victim(None) as target, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(SWITCHES))
        address = f"http://{target.host}:{target.port}/"
        for number in range(ROUNDS + 1):
            floor = visit(browser, f"{address}nowhere", "body")
            found = visit(browser, address, "main > * h1")
            if number > 0:  # the first round warms the server and the browser
                note(figures, floor, found)
            print(f"round {number} of {ROUNDS} done", file=sys.stderr)
        browser.close()
    print_report("page", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def visit(browser: Browser, address: str, what: str) -> dict[str, float]:
    """Open an address with an empty cache, and wait until `what` is there."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(what, state="attached")
    page.wait_for_function("() => performance.getEntriesByType('paint').length > 1")
    found: dict[str, float] = page.evaluate(PAINTED)
    context.close()
    return found


def note(figures: Figures, floor: dict[str, float], found: dict[str, float]) -> None:
    named = {
        "first_paint_ms": found["paint_ms"],
        "floor_ms": floor["paint_ms"],
        "first_paint_by_floor": found["paint_ms"] / floor["paint_ms"],
        "view_stands_ms": found["stands_ms"],
        "requests": found["requests"],
        "kilobytes_sent": found["bytes"] / 1_000,
    }
    for name, value in named.items():
        figures.setdefault(name, []).append(value)


if __name__ == "__main__":
    main()
