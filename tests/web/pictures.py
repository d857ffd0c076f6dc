"""Take the pictures of the web page for the documentation: `python -m tests.web.pictures`

A real server with the models that ship makes two dozen images, and starts one more, slow enough to be seen
growing; then five views are photographed in light, in dark and on a phone, as WebP in docs/pictures/web.
"""

import argparse
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from examples.demo import ENGINE, configured, free_port, register, server, spoon
from tests.acceptance.patience import wait_for
from tests.web.conftest import CHROMIUM, SWITCHES

PICTURES: Final = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "web"
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 780}, "device_scale_factor": 2},
}
VIEWS: Final = ("create", "queue", "gallery", "models", "engines")
SHAPES: Final = ("circle", "star", "triangle", "square")
COLORS: Final = (
    ("red", "blue"),
    ("yellow", "purple"),
    ("green", "white"),
    ("orange", "black"),
    ("blue", "yellow"),
)
PATIENCE_S: Final = 300.0
WEBP_QUALITY: Final = 82
PROMPTS: Final = (
    "a small yellow star on a purple background, top",
    "a large (red:1.2) circle on a blue background",
)


def main() -> None:
    """Make the images, then the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.pictures", description=__doc__)
    parser.add_argument("--folder", type=Path, default=PICTURES, help="where the pictures go")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="spoon-") as name:
        port = free_port()
        config = configured(Path(name), port)
        with server(Path(name), config):
            register(config, "scenes-sd", "checkpoint", "scenes")
            register(config, "stripes-sd", "lora", "stripes")
            spoon(config, "engines", "create", "scenes", "--name", "scenes", *ENGINE)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S + 10) as http:
                fill(http)
                photograph(f"http://127.0.0.1:{port}/", http, folder)
            spoon(config, "stop")


def fill(http: httpx.Client) -> None:
    """Make an image of each shape in each pair of colors."""
    for number, (shape, (color, ground)) in enumerate(product(SHAPES, COLORS)):
        job = {
            "engine": "scenes",
            "prompt": f"a large {color} {shape} on a {ground} background",
            "seed": number,
        }
        http.post("/v1/jobs", json=job).raise_for_status()
    last = {
        "engine": "scenes",
        "prompt": "a small yellow star on a green background, top",
        "seed": 3,
        "priority": -1,
    }
    http.post(f"/v1/jobs?wait={PATIENCE_S:g}", json=last).raise_for_status()


def photograph(address: str, http: httpx.Client, folder: Path) -> None:
    """One picture of each view in each look."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*SWITCHES, "--no-sandbox"])
        for look in LOOKS:
            for page in visitors(browser, look):
                for view in VIEWS:
                    take(page, address, http, view)
                    file = folder / f"{view}-{look}.webp"
                    Image.open(BytesIO(page.screenshot())).save(file, quality=WEBP_QUALITY, method=6)
                    print(f"{file}: {file.stat().st_size / 1000:.0f} kB", file=sys.stderr)
        browser.close()


def visitors(browser: Browser, look: str) -> Iterator[Page]:
    context = browser.new_context(locale="en-US", reduced_motion="reduce", **LOOKS[look])
    yield context.new_page()
    context.close()


def take(page: Page, address: str, http: httpx.Client, view: str) -> None:
    """Open a view, and wait until what it shows is there."""
    if view == "queue":
        job = {
            "engine": "scenes",
            "prompt": "a large orange square, center, white background",
            "previews": True,
        }
        for number in range(3):
            http.post("/v1/jobs", json=job | {"steps": 150, "seed": number}).raise_for_status()
    page.goto(f"{address}#/{view}")
    expect(page.locator("main > * h1")).to_be_attached()
    if view == "create":
        for prompt in PROMPTS:
            page.get_by_label("Prompt", exact=True).fill(prompt)
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(500)
        loaded = (
            "() => [...document.querySelectorAll('main img')].filter((one) => one.naturalWidth > 0).length"
        )
        wait_for("the images", lambda: page.evaluate(loaded) >= len(PROMPTS), PATIENCE_S)
    page.wait_for_timeout(2_500)
    page.evaluate("() => document.activeElement?.blur()")


if __name__ == "__main__":
    main()
