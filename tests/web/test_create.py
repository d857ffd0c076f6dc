"""The view Create: from a prompt to images, without a wrong step, and without losing what was typed."""

import json
from base64 import b64encode
from io import BytesIO
from typing import Any, Final

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Locator, Page, expect

from bench.pictures import png
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.server import Server
from tests.unit.worker.model_files import lora, write_safetensors
from tests.web.conftest import Visitor
from tests.web.test_accessibility import AXE, faults

PLAIN: Final = "plain · SD 1.5"
LAYER: Final = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
DROP: Final = """([element, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  for (const type of ["dragover", "drop"]) {
    element.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  }
}"""


def begin(visitor: Visitor, prompt: str, **fields: object) -> Page:
    """A form with a small job."""
    page = visitor.visit()
    page.get_by_label("Model", exact=True).select_option(label=PLAIN)
    page.get_by_label("Prompt", exact=True).fill(prompt)
    for label, value in {"Width": 64, "Height": 64, "Steps": 2, **fields}.items():
        page.get_by_label(label, exact=True).fill(str(value))
    return page


def card(page: Page) -> Locator:
    """The newest job."""
    return page.locator(".job").first


def generated(page: Page) -> Locator:
    """The card of a job that was just made, with its image."""
    page.keyboard.press("Control+Enter")
    expect(card(page)).to_have_attribute("data-status", "finished")
    expect(card(page).locator(".pictures img").first).to_be_visible()
    return card(page)


def jobs_of(visitor: Visitor) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = httpx.get(f"{visitor.url}v1/jobs").json()["items"]
    return items


def drop(page: Page, data: bytes) -> None:
    view = page.locator("create-view").element_handle()
    page.evaluate(DROP, [view, "dropped.png", b64encode(data).decode()])


def test_a_first_image_comes_from_a_prompt_and_a_button(visitor: Visitor) -> None:
    page = begin(visitor, "a red fox")
    page.get_by_role("button", name="Generate").click()
    image = card(page).get_by_role("img", name="a red fox")
    expect(image).to_be_visible()
    assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 64
    assert page.url.endswith("#/create")
    card(page).get_by_role("button", name="Use as reference").click()
    expect(page.locator("[data-role=reference]")).to_contain_text("64 × 64")
    card(page).get_by_role("button", name="Again, new seed").click()
    expect(page.locator(".job[data-status=finished]")).to_have_count(2)
    first, second = jobs_of(visitor)[:2]
    assert (first["prompt"], first["width"], first["seed"] == second["seed"]) == ("a red fox", 64, False)


def test_a_job_is_watched_and_cancelled(visitor: Visitor) -> None:
    page = begin(visitor, "a slow fox [slow 100ms]", Steps=200)
    page.keyboard.press("Control+Enter")
    expect(card(page).get_by_role("img", name="Preview of image 1")).to_be_visible()
    expect(card(page)).to_contain_text("of 200")
    card(page).get_by_role("button", name="Cancel").click()
    expect(card(page)).to_have_attribute("data-status", "cancelled")
    assert jobs_of(visitor)[0]["status"] == "cancelled"


def test_several_jobs_are_followed_at_once(visitor: Visitor) -> None:
    page = begin(visitor, "many foxes [slow 20ms]", Steps=20)
    for _ in range(4):
        page.keyboard.press("Control+Enter")
    expect(page.locator(".job[data-status=finished] .pictures img")).to_have_count(4)


def test_a_wrong_value_is_told_beside_its_field(visitor: Visitor) -> None:
    page = begin(visitor, "a fox", Steps=5_000)
    steps = page.get_by_label("Steps", exact=True)
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(steps).to_have_accessible_description("must be at most 200")
    steps.fill("2")
    expect(steps).not_to_have_attribute("aria-invalid", "true")


def test_a_job_that_is_refused_leads_to_the_field(visitor: Visitor) -> None:
    page = begin(visitor, "a fox")
    page.get_by_text("Queue and callbacks").click()
    page.get_by_label("Priority").fill("5000")
    page.get_by_text("Queue and callbacks").click()
    expect(page.get_by_label("Priority")).to_be_hidden()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_label("Priority")).to_be_focused()
    expect(page.get_by_label("Priority")).to_have_accessible_description(
        "must be at most 1000 Higher runs first"
    )
    expect(page.locator(".job")).to_have_count(0)


def test_each_image_of_a_prompt_with_choices_has_its_own(visitor: Visitor) -> None:
    page = begin(visitor, "a __animals/cat__", Images=2, Seed=7)
    field = page.locator('[data-field="prompt"]')
    expect(field.locator(".fault")).to_contain_text("the nearest are animals/cats")
    page.get_by_label("Prompt", exact=True).fill("a __animals/cats__")
    expect(field.locator(".tokens")).to_contain_text("before choices")
    expect(field.locator(".fault")).to_be_empty()
    generated(page)
    last, first = jobs_of(visitor)[:2]
    assert [(job["count"], job["seed"]) for job in (first, last)] == [(1, 7), (1, 8)]
    assert first["prompt_template"] == last["prompt_template"] == "a __animals/cats__"
    assert {first["prompt"], last["prompt"]} <= {"a tiger", "a lynx"}


def test_a_reload_loses_nothing(visitor: Visitor) -> None:
    page = begin(visitor, "a fox that stays [slow 100ms]", Steps=200, Seed=7)
    drop(page, png_of(64, 96))
    page.get_by_role("button", name="Reference").click()
    expect(page.locator("[data-role=reference]")).to_contain_text("64 × 96")
    page.get_by_label("Denoising strength", exact=True).fill("0.3")
    page.keyboard.press("Control+Enter")
    expect(card(page)).to_have_attribute("data-status", "processing")
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a fox that stays [slow 100ms]")
    expect(page.get_by_label("Model", exact=True).locator("option:checked")).to_have_text(PLAIN)
    expect(page.get_by_label("Denoising strength", exact=True)).to_have_value("0.3")
    expect(page.locator("[data-role=reference] img")).to_be_visible()
    expect(card(page).get_by_role("img", name="Preview of image 1")).to_be_visible()
    job = jobs_of(visitor)[0]
    assert (job["seed"], job["inputs"], job["strength"]) == (7, ["reference"], 0.3)
    card(page).get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove the image: Reference").click()
    expect(page.get_by_label("Denoising strength", exact=True)).to_be_hidden()


def png_of(width: int, height: int) -> bytes:
    return png(Image.new("RGB", (width, height), (40, 90, 160)))


def with_infotext(text: str) -> bytes:
    said, file = PngInfo(), BytesIO()
    said.add_text("parameters", text)
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=said)
    return file.getvalue()


def test_a_dropped_image_with_infotext_fills_the_form(visitor: Visitor) -> None:
    page = visitor.visit()
    text = (
        "a blue bird\nNegative prompt: rain\n"
        "Steps: 9, Sampler: Euler a, CFG scale: 4.5, Seed: 11, Size: 128x192, Model: gone"
    )
    drop(page, with_infotext(text))
    page.get_by_role("button", name="Take over its prompt and settings").click()
    filled = {"Prompt": "a blue bird", "Negative prompt": "rain", "Steps": "9", "Seed": "11", "Width": "128"}
    for label, value in filled.items():
        expect(page.get_by_label(label, exact=True)).to_have_value(value)
    expect(page.get_by_label("Scheduler", exact=True)).to_have_value("euler_a")
    expect(page.locator(".notes").first).to_contain_text("Model: gone")


def test_an_image_of_the_server_opens_as_a_form(visitor: Visitor) -> None:
    page = begin(visitor, "a fox to be changed", Steps=3, Seed=21)
    generated(page)
    image_id = jobs_of(visitor)[0]["image_id"]
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
    page.goto(f"{visitor.url}#/create?like={image_id}")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a fox to be changed")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("21")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("3")
    draft = {"fields": {"prompt": "from elsewhere"}}
    page.evaluate(f"import('/web/app/drafts.js').then((drafts) => drafts.openInCreate({json.dumps(draft)}))")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("from elsewhere")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("")


def test_an_image_of_the_server_is_a_reference_without_a_download(visitor: Visitor) -> None:
    page = begin(visitor, "a fox to go on from", Seed=3)
    page.get_by_label("Find a setting").fill("downloads")
    page.get_by_label("Delete after downloads").fill("1")
    generated(page)
    jobs = page.locator(".job").count()
    image_id = jobs_of(visitor)[0]["image_id"]
    draft = {"fields": {"like": image_id, "prompt": "a hat"}, "images": {"reference": {"image_id": image_id}}}
    page.evaluate(f"import('/web/app/drafts.js').then((drafts) => drafts.openInCreate({json.dumps(draft)}))")
    reference = page.locator("[data-role=reference]")
    expect(reference).to_contain_text("64 × 64")
    page.get_by_role("button", name="Paint a mask").click()
    painter = page.get_by_role("dialog", name="What is to change?")
    painter.get_by_role("button", name="Whole image").click()
    page.keyboard.press("Escape")
    expect(page.locator("[data-role=mask]")).to_be_visible()
    page.reload()
    expect(reference).to_be_visible()
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    expect(page.locator(".job")).to_have_count(jobs + 1)
    expect(card(page)).to_have_attribute("data-status", "finished")
    job = jobs_of(visitor)[0]
    assert (job["prompt"], job["inputs"]) == ("a hat", ["reference", "mask"])
    image = httpx.get(f"{visitor.url}v1/images/{image_id}").json()
    assert (image["gone"], image["downloads"], image["download_limit"]) == (None, 0, 1)
    httpx.delete(f"{visitor.url}v1/images/{image_id}").raise_for_status()
    page.get_by_label("Prompt", exact=True).fill("a coat")
    expect(page.locator("[data-fault=reference_image_blob]")).not_to_be_empty()


def test_a_lora_is_added_weighed_and_brings_its_words(visitor: Visitor, loras: None) -> None:
    page = begin(visitor, "a fox")
    page.get_by_label("LoRAs", exact=True).focus()
    offered = page.locator("#models-loras option")
    expect(offered).to_have_count(1)  # that of SDXL does not fit
    page.get_by_label("LoRAs", exact=True).fill("detail")
    page.keyboard.press("Enter")
    page.get_by_label("Weight of detail", exact=True).fill("0.5")
    page.get_by_role("button", name="sharp lines").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a fox, sharp lines")
    page.reload()
    expect(page.get_by_label("Weight of detail", exact=True)).to_have_value("0.5")
    generated(page)
    job = jobs_of(visitor)[0]
    assert [use["weight"] for use in job["loras"]] == [0.5]
    assert job["prompt"] == "a fox, sharp lines"
    page.get_by_role("button", name="Remove detail").click()
    expect(page.get_by_label("LoRAs", exact=True)).to_be_focused()
    generated(page)
    assert jobs_of(visitor)[0]["loras"] == []


@pytest.fixture(scope="module")
def loras(studio: Server) -> None:
    """One that fits the checkpoints, and one that does not."""
    files = {"detail": lora(LAYER, 768), "other": lora(LAYER, 2048)}
    with httpx.Client(base_url=f"http://127.0.0.1:{studio.port}/v1", timeout=PATIENCE_S) as http:
        for name, shapes in files.items():
            file = write_safetensors(studio.folder / f"{name}.safetensors", shapes)
            body = {
                "name": name,
                "path": file.as_uri(),
                "model_type": "lora",
                "trigger_words": ["sharp lines"],
            }
            answer = http.post("/models", params={"wait": PATIENCE_S}, json=body).json()
            assert answer["status"] == "ready", answer


def test_a_preset_brings_its_fields_and_leaves_the_others(visitor: Visitor) -> None:
    preset = {"steps": 7, "scheduler": "euler_a"}
    assert httpx.put(f"{visitor.url}v1/presets/sketch", json=preset).status_code == 200
    page = begin(visitor, "a fox", Steps=3)
    page.get_by_label("Preset", exact=True).select_option("sketch")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("7")
    expect(page.get_by_label("Scheduler", exact=True)).to_have_value("euler_a")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a fox")


def test_sizes_are_offered_by_what_the_model_was_made_for(visitor: Visitor) -> None:
    page = begin(visitor, "a fox")
    page.get_by_label("Usual sizes").select_option(label="Portrait, 448 × 576")
    expect(page.get_by_label("Width", exact=True)).to_have_value("448")
    page.get_by_role("button", name="Swap width and height").click()
    expect(page.get_by_label("Height", exact=True)).to_have_value("448")
    expect(page.get_by_label("Usual sizes").locator("option:checked")).to_have_text("Landscape, 576 × 448")


def test_a_setting_is_found_by_a_word(visitor: Visitor) -> None:
    page = visitor.visit()
    expect(page.get_by_label("Clip skip")).to_be_hidden()
    page.get_by_label("Find a setting").fill("clip")
    expect(page.get_by_label("Clip skip")).to_be_visible()
    expect(page.get_by_label("Priority")).to_be_hidden()
    page.get_by_label("Clip skip").fill("2")
    page.get_by_label("Find a setting").fill("")
    expect(page.get_by_label("Clip skip")).to_be_hidden()
    expect(page.get_by_text("How the prompt is read")).to_contain_text("1 set")


@pytest.mark.skipif(not AXE.exists(), reason="the packages of tests/web are not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_those_who_use_aids(visitor: Visitor, scheme: Any) -> None:
    visitor.page.emulate_media(color_scheme=scheme)
    page = begin(visitor, "a fox", Steps=5_000)
    for summary in page.locator("summary:visible").all():
        summary.click()
    drop(page, png_of(64, 64))
    page.get_by_role("button", name="Reference").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_attribute("aria-invalid", "true")
    assert faults(page) == []
    page.get_by_role("button", name="Paint a mask").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []


def test_a_phone_shows_it_without_scrolling_sideways(visitor: Visitor) -> None:
    visitor.page.set_viewport_size({"width": 360, "height": 740})
    page = begin(visitor, "a fox")
    generated(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_server_that_starts_again_finds_the_form_and_the_jobs_as_they_were(visitor: Visitor) -> None:
    page = begin(visitor, "a patient fox", Steps=3)
    generated(page)
    page.get_by_label("Prompt", exact=True).fill("half a sen")
    visitor.server.stop()
    page.get_by_label("Steps", exact=True).fill("5")
    visitor.server.start()
    expect(page.locator(".connection")).to_have_attribute("data-state", "live")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("half a sen")
    generated(page)
    assert (jobs_of(visitor)[0]["prompt"], jobs_of(visitor)[0]["steps"]) == ("half a sen", 5)
    expect(page.locator(".job[data-status=finished]")).to_have_count(2)
