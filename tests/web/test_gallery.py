"""The view Gallery: a hundred thousand images, found, looked at, compared, kept and deleted."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server
from tests.web.conftest import Visitor, visitor_of
from tests.web.many_images import FAVORITES, PER_JOB, animal_of, fill, image_id, is_wide
from tests.web.test_queue import submit

MANY: Final = 100_000
MOST_TILES: Final = 150
"""Elements, whatever the length of the list: a screen of tiles and two rows on each side."""
FRAMES: Final = """async ([steps, by]) => {
  const scroller = document.querySelector(".scroller");
  const took = [];
  let most = 0;
  let last = await new Promise(requestAnimationFrame);
  for (let step = 0; step < steps; step += 1) {
    scroller.scrollTop += by;
    const now = await new Promise(requestAnimationFrame);
    took.push(now - last);
    last = now;
    most = Math.max(most, document.querySelectorAll(".tile").length);
  }
  return { took: took.sort((a, b) => a - b), most };
}"""
AXE: Final = Path(__file__).parent / "node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def museum(installed: Path) -> Iterator[Server]:
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.images.mkdir(exist_ok=True)
        fill(server.database_file, server.images, MANY)
        server.start()
        yield server


@pytest.fixture
def visitor(chromium: Browser, museum: Server) -> Iterator[Visitor]:
    yield from visitor_of(chromium, museum)


def tile(page: Page, number: int) -> Locator:
    """The tile of an image of old."""
    return page.locator(f'.tile[data-id="{image_id(number)}"]')


def link(page: Page, number: int) -> Locator:
    return tile(page, number).get_by_role("link")


def newest(visitor: Visitor, count: int = 1) -> list[str]:
    """The ids of images that are made now, newest first; the tests of a module have made others before."""
    job_id = submit(visitor.server, "a new dawn", count=count)

    def finished() -> list[str] | None:
        job = httpx.get(f"{visitor.url}v1/jobs/{job_id}").json()
        return list(reversed(job["image_ids"])) if job["status"] == "finished" else None

    return wait_for("the job", finished)


def test_of_a_hundred_thousand_images_only_those_in_sight_are_elements(visitor: Visitor) -> None:
    page = visitor.visit("gallery?prompt=snow")
    expect(page.get_by_text("100,000 images")).to_be_visible()
    expect(link(page, MANY - 1).locator("img")).to_have_js_property("naturalWidth", 256)
    slow = page.evaluate(FRAMES, [60, 40])
    fast = page.evaluate(FRAMES, [60, 3_000])
    for name, frames in (("slowly", slow), ("fast", fast)):
        took = frames["took"]
        print(f"scrolling {name}: median {took[len(took) // 2]:.1f} ms, longest {took[-1]:.1f} ms a frame")
        assert 0 < frames["most"] <= MOST_TILES
    page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
    expect(link(page, 0).locator("img")).to_have_js_property("naturalWidth", 256)
    assert page.evaluate("document.querySelectorAll('*').length") < 20 * MOST_TILES
    assert tile(page, 0).get_attribute("aria-posinset") == str(MANY)


def in_sight(page: Page) -> str:
    """The id of the image of the first tile below the upper edge, once it is read."""

    def first() -> str:
        return str(
            page.evaluate("""() => {
              const top = document.querySelector(".scroller").getBoundingClientRect().top;
              const tiles = [...document.querySelectorAll(".tile")];
              return tiles.find((tile) => tile.getBoundingClientRect().top >= top)?.dataset.id ?? "";
            }""")
        )

    return wait_for("the tiles in sight", first)


def test_the_place_in_the_list_is_kept_over_a_reload_and_another_view(visitor: Visitor) -> None:
    page = visitor.visit("gallery?prompt=fox")
    expect(page.get_by_text("20,000 images")).to_be_visible()
    page.evaluate("document.querySelector('.scroller').scrollTop = 400000")
    before = in_sight(page)
    page.reload()
    expect(page.locator(f'.tile[data-id="{before}"]')).to_be_visible()
    assert in_sight(page) == before
    page.get_by_role("link", name="Queue").click()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    page.go_back()
    expect(page.locator(f'.tile[data-id="{before}"]')).to_be_visible()
    assert in_sight(page) == before


def test_images_are_found_by_any_filter_and_the_address_says_which(visitor: Visitor) -> None:
    favorites = [n for n in range(0, MANY, FAVORITES) if animal_of(n // PER_JOB) == "owl"]
    narrow = sum(1 for number in favorites if not is_wide(number))
    assert 1 < narrow < len(favorites)
    page = visitor.visit("gallery")
    page.get_by_label("Words of the prompt").fill('"owl in the snow"')
    expect(page.get_by_text("20,000 images")).to_be_visible()
    page.get_by_label("Favorites").select_option("favorites only")
    expect(page.get_by_text(f"{len(favorites)} images")).to_be_visible()
    page.locator("summary").click()
    page.get_by_label("Tag", exact=True).fill("best")
    page.get_by_label("Width").fill("512")
    expect(page.get_by_text(f"{narrow} images")).to_be_visible()
    assert "favorite=true" in page.url
    page.reload()
    expect(page.get_by_text(f"{narrow} images")).to_be_visible()
    page.get_by_label("Width").fill("8")
    expect(page.get_by_text("No image is like that")).to_be_visible()
    page.get_by_role("button", name="Clear all filters").click()
    expect(page.locator(".tile").first).to_be_visible()
    assert "favorite" not in page.url
    page.get_by_label("From", exact=True).fill("2020-01-01")
    page.get_by_label("To", exact=True).fill("2020-12-31")
    expect(page.get_by_text("No image is like that")).to_be_visible()


def test_the_keyboard_alone_opens_an_image_goes_on_and_returns(visitor: Visitor) -> None:
    page = visitor.visit("gallery?prompt=snow")
    link(page, MANY - 1).focus()
    page.keyboard.press("ArrowRight")
    expect(link(page, MANY - 2)).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog).to_contain_text("2 of 100,000")
    expect(dialog.locator("dl")).to_contain_text("cfg")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("3 of 100,000")
    assert image_id(MANY - 3) in page.url
    for _ in range(40):  # the focus goes round within the dialog
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_attached()
    expect(link(page, MANY - 3)).to_be_focused()
    assert "image=" not in page.url
    page.keyboard.press("End")
    expect(link(page, 0)).to_be_focused()


def test_an_address_opens_one_image_and_back_closes_it(visitor: Visitor) -> None:
    page = visitor.visit(f"gallery?image={image_id(77)}")
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog).to_contain_text("number 0")
    expect(dialog.get_by_role("img")).to_have_js_property("naturalWidth", 512)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).not_to_be_attached()
    page.locator(".tile").first.get_by_role("link").click()
    expect(dialog).to_be_visible()
    page.go_back()
    expect(dialog).not_to_be_attached()
    expect(page.get_by_role("heading", name="Gallery")).to_be_attached()


def test_images_are_chosen_by_mouse_and_keys_compared_and_sent_as_one_zip(visitor: Visitor) -> None:
    page = visitor.visit("gallery?prompt=snow")
    first, last = MANY - 2, MANY - 5
    tile(page, first).hover()
    tile(page, first).get_by_role("checkbox").click()
    link(page, last).click(modifiers=["Shift"])
    bar = page.get_by_role("group", name="Chosen images")
    expect(bar).to_contain_text("4 chosen")
    zipped = httpx.get(str(bar.get_by_role("link", name="Download as zip").get_attribute("href")))
    with ZipFile(BytesIO(zipped.content)) as content:
        assert sorted(content.namelist()) == [f"{image_id(n)}.png" for n in range(last, first + 1)]
    link(page, MANY - 3).focus()
    page.keyboard.press("Escape")
    expect(bar).not_to_be_visible()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(bar).to_contain_text("2 chosen")
    bar.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog", name="Compare")
    expect(dialog.get_by_role("img")).to_have_count(2)
    slider = dialog.get_by_role("slider")
    expect(slider).to_be_focused()
    page.keyboard.press("Home")
    assert dialog.locator(".both").evaluate("each => each.style.getPropertyValue('--shown')") == "0%"
    expect(dialog).to_contain_text("seed")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_attached()


def test_new_images_come_without_a_jump_and_are_deleted_after_a_question(visitor: Visitor) -> None:
    page = visitor.visit("gallery?prompt=dawn")
    (first,) = newest(visitor)
    shown = page.locator(f'.tile[data-id="{first}"]')
    expect(shown).to_be_visible()
    page.get_by_label("Words of the prompt").fill("")
    expect(page.get_by_text("100,0")).to_be_visible()
    page.evaluate("document.querySelector('.scroller').scrollTop = 50000")
    before = in_sight(page)
    second, third = newest(visitor, 2)
    offer = page.get_by_role("button", name="Show 2 new images")
    expect(offer).to_be_visible()
    assert in_sight(page) == before
    offer.click()
    expect(page.locator(f'.tile[data-id="{second}"]').get_by_role("link")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(f'.tile[data-id="{third}"]').get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog", name="Delete 2 images?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator(f'.tile[data-id="{third}"]')).to_be_visible()
    page.keyboard.press("Delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("2 images are deleted.")).to_be_visible()
    expect(page.locator(f'.tile[data-id="{second}"]')).not_to_be_attached()
    for one in (second, third):
        assert httpx.get(f"{visitor.url}v1/images/{one}").json()["gone"]["reason"] == "deleted"
    page.get_by_role("combobox", name="Show", exact=True).select_option("images that are gone")
    expect(page.locator(f'.tile[data-id="{third}"]')).to_contain_text("deleted")


def test_what_people_say_of_an_image_is_kept(visitor: Visitor) -> None:
    page = visitor.visit(f"gallery?prompt=snow&image={image_id(5)}")
    dialog = page.get_by_role("dialog", name="Image")
    dialog.get_by_label("Tags").fill("wall,  winter, ")
    dialog.get_by_label("Note").fill("for the wall")
    dialog.get_by_role("button", name="Favorite").click()
    expect(dialog.get_by_role("button", name="Favorite", pressed=True)).to_be_focused()

    def kept() -> bool:
        image = httpx.get(f"{visitor.url}v1/images/{image_id(5)}").json()
        return (image["tags"], image["note"], image["favorite"]) == (["wall", "winter"], "for the wall", True)

    wait_for("what was said to be kept", kept)


def test_an_image_is_made_again_and_begun_from(visitor: Visitor) -> None:
    (image,) = newest(visitor)
    jobs = httpx.get(f"{visitor.url}v1/jobs").json()["items"]
    page = visitor.visit(f"gallery?image={image}")
    dialog = page.get_by_role("dialog", name="Image")
    dialog.get_by_role("button", name="Variations").click()
    expect(page.get_by_text("The job with 4 images waits for its turn.")).to_be_visible()
    made = httpx.get(f"{visitor.url}v1/jobs").json()["items"][0]
    assert (made["prompt"], made["count"]) == ("a new dawn", 4)
    assert made["job_id"] != jobs[0]["job_id"]
    dialog.get_by_role("button", name="Remove background").click()
    expect(page.get_by_text("There is no model that removes backgrounds.")).to_be_visible()
    dialog.get_by_role("button", name="Use as reference").click()
    expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text("Create")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a new dawn")

    def begun() -> bool:
        draft = json.loads(page.evaluate("localStorage.getItem('spoon.draft.create')"))
        return list(draft.get("images", {})) == ["reference"]

    wait_for("the image to be the reference", begun)


def test_variations_of_a_prompt_with_choices_choose_anew(visitor: Visitor) -> None:
    (image,) = newest(visitor)
    template = {"prompt": "a {red|blue} dawn", "wildcards": True}
    job = httpx.post(f"{visitor.url}v1/jobs?wait=60", json={"like": image, **template}).json()
    page = visitor.visit(f"gallery?image={job['image_id']}")
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog.locator(".recipe")).to_contain_text("a {red|blue} dawn")
    dialog.get_by_role("button", name="Variations").click()

    def made() -> bool:
        jobs = httpx.get(f"{visitor.url}v1/jobs?limit=4").json()["items"]
        return [(one["prompt_template"], one["count"]) for one in jobs] == [(template["prompt"], 1)] * 4

    wait_for("four jobs", made)


def test_a_recipe_can_be_copied(visitor: Visitor) -> None:
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    (image,) = newest(visitor)
    page = visitor.visit(f"gallery?image={image}")
    dialog = page.get_by_role("dialog", name="Image")
    for name, expected in (("JSON", '"prompt": "a new dawn"'), ("curl", f'{{"like":"{image}"}}')):
        dialog.get_by_role("button", name=f"Copy {name}").click()
        wait_for(name, lambda: expected in page.evaluate("navigator.clipboard.readText()"))  # noqa: B023


def choose_by_touch(page: Page) -> None:
    """A long touch chooses; then a tap does, until nothing is chosen any more."""
    bar = page.get_by_role("group", name="Chosen images")
    box = tile(page, MANY - 2).bounding_box()
    assert box is not None
    finger = page.context.new_cdp_session(page)
    points = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}]
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    expect(bar).to_contain_text("1 chosen")
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    link(page, MANY - 3).tap()
    expect(bar).to_contain_text("2 chosen")
    bar.get_by_role("button", name="Choose none").tap()
    expect(bar).not_to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_everybody_can_use_it(chromium: Browser, museum: Server, scheme: str) -> None:
    size = {"width": 360, "height": 740}
    for visitor in visitor_of(chromium, museum, viewport=size, color_scheme=scheme, has_touch=True):
        page = visitor.visit("gallery?prompt=snow")
        expect(tile(page, MANY - 1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        if AXE.exists():
            page.evaluate(AXE.read_text("utf-8"))
            found = page.evaluate(
                "axe.run().then((result) => result.violations.map((one) => one.id + one.nodes[0].html))"
            )
            assert found == []
        choose_by_touch(page)
        link(page, MANY - 1).tap()
        dialog = page.get_by_role("dialog", name="Image")
        expect(dialog.get_by_role("img")).to_be_visible()
        assert dialog.evaluate("(each) => each.scrollWidth <= each.clientWidth")
        if AXE.exists():
            found = page.evaluate(
                "axe.run().then((result) => result.violations.map((one) => one.id + one.nodes[0].html))"
            )
            assert found == []
