"""The mask painter: what is painted over an image is what changes in it."""

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from bench.pictures import png
from engine_worker.embedded.shipped import shipped
from kernel.protocol.enums import ModelType
from tests.acceptance.conftest import cleaned_up
from tests.acceptance.image_server import PATIENCE_S, ImageServer
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server
from tests.judge import Mask, Pixels, judge
from tests.web.conftest import Visitor, visitor_of
from tests.web.test_create import begin, card, drop, jobs_of
from training.drawing import draw, draw_mask, whole
from training.networks import NATIVE_SIZE_PX
from training.scenes import Colour, Place, Scene, Shape, Size
from training.sheets import scene_sheet

KEPT = """() => import("/web/app/drafts.js").then(async (drafts) => {
  const mask = await drafts.keptImage("create.mask");
  if (mask === null) return null;
  const bytes = new Uint8Array(await mask.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
})"""


def with_reference(page: Page, data: bytes) -> Locator:
    """The painter, open over this image."""
    drop(page, data)
    page.get_by_role("button", name="Reference").click()
    page.get_by_role("button", name="Paint a mask").click()
    painter = page.get_by_role("dialog", name="What is to change?")
    expect(painter.locator(".sheet canvas")).to_be_visible()
    return painter


def spots(painter: Locator, width: int, *points: tuple[float, float]) -> list[tuple[float, float]]:
    """Where these pixels of the image are on the screen."""
    box = painter.locator(".sheet canvas").bounding_box()
    assert box is not None
    scale = box["width"] / width
    return [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]


def stroke(painter: Locator, width: int, *points: tuple[float, float]) -> None:
    mouse = painter.page.mouse
    first, *others = spots(painter, width, *points)
    mouse.move(*first)
    mouse.down()
    for x, y in others:
        mouse.move(x, y, steps=5)
    mouse.up()


def kept_mask(page: Page) -> Pixels:
    """What the browser keeps. Shape: (height, width)."""
    return np.asarray(Image.open(BytesIO(b64decode(page.evaluate(KEPT)))).convert("L"))


def closed(painter: Locator) -> Page:
    painter.page.keyboard.press("Escape")
    expect(painter).to_have_count(0)
    expect(painter.page.locator("[data-role=mask]")).to_be_visible()
    return painter.page


def grey(width: int, height: int) -> bytes:
    return png(Image.new("RGB", (width, height), (120, 120, 120)))


def test_what_is_painted_is_white_in_the_mask_that_is_sent(visitor: Visitor) -> None:
    page = begin(visitor, "[echo] a door")
    painter = with_reference(page, grey(160, 96))
    painter.get_by_label("Brush size").fill("20")
    stroke(painter, 160, (40, 48), (120, 48))
    page = closed(painter)
    mask = kept_mask(page)
    assert mask.shape == (96, 160)
    assert set(np.unique(mask)) == {0, 255}
    rows, columns = np.nonzero(mask)
    found = (rows.min(), rows.max(), columns.min(), columns.max())
    assert found == pytest.approx((38, 57, 30, 129), abs=2)
    expect(page.get_by_label("Below the mask")).to_be_visible()
    page.reload()
    expect(page.locator("[data-role=mask]")).to_contain_text("160 × 96")
    page.get_by_label("Area", exact=True).select_option("masked")
    page.get_by_label("Padding", exact=True).fill("8")
    page.keyboard.press("Control+Enter")
    expect(card(page)).to_have_attribute("data-status", "finished")
    job = jobs_of(visitor)[0]
    assert (job["inputs"], job["inpaint_area"], job["inpaint_padding"]) == (
        ["reference", "mask"],
        "masked",
        8,
    )
    sent = httpx.get(f"{visitor.url}v1/images/{job['image_id']}/mask").content
    assert hashlib.sha256(sent).hexdigest() == hashlib.sha256(b64decode(page.evaluate(KEPT))).hexdigest()


def share(page: Page) -> float:
    """The part of the image that is to change."""
    return float((kept_mask(page) > 0).mean())


def test_a_mask_is_erased_undone_and_inverted(visitor: Visitor) -> None:
    painter = with_reference(visitor.visit(), grey(64, 64))
    page = painter.page
    painter.get_by_role("button", name="Whole image").click()
    painter.get_by_role("button", name="Eraser").click()
    painter.get_by_label("Brush size").fill("16")
    stroke(painter, 64, (32, 10), (32, 54))
    closed(painter)
    wait_for("the mask without the stroke", lambda: share(page) == pytest.approx(0.78, abs=0.02))
    page.get_by_role("button", name="Paint a mask").click()
    painter.get_by_role("button", name="Invert").click()
    closed(painter)
    wait_for("the inverted mask", lambda: share(page) == pytest.approx(0.22, abs=0.02))
    page.get_by_role("button", name="Paint a mask").click()
    painter.get_by_role("button", name="Whole image").click()
    painter.get_by_role("button", name="Clear").click()
    page.keyboard.press("Control+z")
    closed(painter)
    wait_for("the mask before it was cleared", lambda: share(page) == 1)


def test_the_keyboard_alone_marks_a_rectangle(visitor: Visitor) -> None:
    painter = with_reference(visitor.visit(), grey(96, 64))
    page = painter.page
    painter.get_by_text("A rectangle by numbers").focus()
    page.keyboard.press("Enter")
    for value in ("8", "16", "40", "24"):
        page.keyboard.press("Tab")
        page.keyboard.press("Control+a")
        page.keyboard.type(value)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    closed(painter)
    rows, columns = np.nonzero(kept_mask(page))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 39, 8, 47)


def test_zooming_and_moving_do_not_move_what_is_painted(visitor: Visitor) -> None:
    painter = with_reference(visitor.visit(), grey(200, 200))
    stage = painter.get_by_role("application")
    stage.hover()
    painter.page.mouse.wheel(0, -300)
    stage.press("ArrowRight")
    stage.press("ArrowDown")
    painter.get_by_label("Brush size").fill("10")
    stroke(painter, 200, (100, 100), (110, 100))
    closed(painter)
    rows, columns = np.nonzero(kept_mask(painter.page))
    assert (round(rows.mean()), round(columns.mean())) == pytest.approx((100, 105), abs=1)


def test_a_pen_paints_by_its_pressure(visitor: Visitor) -> None:
    painter = with_reference(visitor.visit(), grey(200, 200))
    painter.get_by_label("Brush size").fill("40")
    (x, y), *_ = spots(painter, 200, (100, 100))
    pen = {
        "x": x,
        "y": y,
        "button": "left",
        "buttons": 1,
        "clickCount": 1,
        "pointerType": "pen",
        "force": 0.5,
    }
    browser = visitor.context.new_cdp_session(painter.page)
    browser.send("Input.dispatchMouseEvent", {"type": "mousePressed", **pen})
    browser.send("Input.dispatchMouseEvent", {"type": "mouseReleased", **pen, "buttons": 0})
    closed(painter)
    rows, _ = np.nonzero(kept_mask(painter.page))
    assert rows.max() - rows.min() + 1 == pytest.approx(20, abs=2)


def test_two_fingers_zoom_and_paint_nothing(visitor: Visitor) -> None:
    painter = with_reference(visitor.visit(), grey(200, 200))
    before, *_ = spots(painter, 200, (100, 100))
    browser = visitor.context.new_cdp_session(painter.page)
    for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchMove", 60), ("touchEnd", 0)):
        fingers = [
            {"x": before[0] + side * apart, "y": before[1], "id": side + 1} for side in (-1, 1) if apart
        ]
        browser.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    box = painter.locator(".sheet canvas").bounding_box()
    stage = painter.get_by_role("application").bounding_box()
    assert box is not None
    assert stage is not None
    assert box["width"] > 2.5 * min(stage["width"], stage["height"])
    painter.page.keyboard.press("Escape")
    expect(painter).to_have_count(0)
    expect(painter.page.locator("[data-role=mask]")).to_have_count(0)


STAR = Scene(Shape.STAR, Colour.YELLOW, Colour.BLUE, Place.LEFT, Size.LARGE)


def drawing() -> tuple[Pixels, Mask]:
    """The star as training draws it, and where it is."""
    sheet = scene_sheet([STAR], np.random.default_rng(1))
    image = ((draw(sheet, whole(sheet))[0] + 1) * 127.5).round().byte().permute(1, 2, 0)
    return image.numpy(), (draw_mask(sheet, whole(sheet))[0, 0] > 0.5).byte().numpy()


@pytest.fixture
def painter_with_model(chromium: Browser) -> Iterator[Visitor]:
    """A visitor of a server with the checkpoint that ships."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spoon-")))
        server = stack.enter_context(cleaned_up(Server(folder, with_api=True, has_fakes=False)))
        server.start()
        url = f"http://127.0.0.1:{server.port}/v1"
        http = stack.enter_context(httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False))
        path = shipped("scenes-sd").path.as_uri()
        ImageServer(http, folder).register(ModelType.CHECKPOINT, "scenes", path)
        yield from visitor_of(chromium, server)


@pytest.mark.torch
@pytest.mark.slow
def test_a_painted_star_changes_its_color_and_nothing_else(painter_with_model: Visitor) -> None:
    reference, shape = drawing()
    page = painter_with_model.visit()
    side = NATIVE_SIZE_PX
    asked = {"Width": side, "Height": side, "Steps": 12, "Seed": 1, "Guidance scale (cfg)": 5}
    page.get_by_label("Prompt", exact=True).fill("a large red star on a blue background, left")
    for label, value in asked.items():
        page.get_by_label(label, exact=True).fill(str(value))
    painter = with_reference(page, png(Image.fromarray(reference)))
    rows, columns = np.nonzero(shape)
    painter.get_by_label("Brush size").fill("12")
    for y in range(int(rows.min()), int(rows.max()) + 1, 5):
        stroke(painter, side, (int(columns.min()), y), (int(columns.max()), y))
    closed(painter)
    page.get_by_label("Denoising strength", exact=True).fill("1")
    mask = (kept_mask(page) > 0).astype(np.uint8)
    assert (mask >= shape).all()
    page.keyboard.press("Control+Enter")
    expect(card(page)).to_have_attribute("data-status", "finished", timeout=PATIENCE_S * 1_000)
    image_id = jobs_of(painter_with_model)[0]["image_id"]
    file = httpx.get(f"{painter_with_model.url}v1/images/{image_id}/download").content
    painted = np.asarray(Image.open(BytesIO(file)).convert("RGB"))
    assert judge(painted).scene.colour is Colour.RED
    outside = cv2.dilate(mask, np.ones((33, 33), np.uint8)) == 0
    assert outside.any()
    assert np.array_equal(painted[outside], reference[outside])
