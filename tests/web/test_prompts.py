"""Prompts are written as in any text area, with marks, tokens, completion and weights; presets are kept."""

from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.acceptance.patience import wait_for
from tests.web.conftest import Visitor
from tests.web.test_accessibility import AXE, faults

MODELS: Final = [
    {"model_id": model_id, "name": name, "model_type": kind, "model_base": "sd", "trigger_words": words}
    for model_id, name, kind, words in (
        ("l1", "watercolor", "lora", []),
        ("l2", "watermark: old", "lora", []),
        ("e1", "dusk-v2", "embedding", ["dusk"]),
    )
]
TOP: Final = "one => one.scrollTop"
MOUNT: Final = """async ([part, tag, attributes]) => {
    await import(`/web/parts/${part}.js`);
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    window.heard = [];
    for (const name of ["change", "pick", "load"])
        element.addEventListener(name, (event) => window.heard.push([name, event.detail ?? element.value]));
    element.read = () => window.fields;
    document.querySelector("main").replaceChildren(element);
}"""


def models(route: Route) -> None:
    found = [one for one in MODELS if f"model_type={one['model_type']}" in route.request.url]
    route.fulfill(json={"items": found, "next": None})


def mount(visitor: Visitor, part: str, tag: str, **attributes: str) -> Page:
    page = visitor.page
    page.route("**/v1/models?*", models)
    visitor.visit("system")
    page.evaluate(MOUNT, [part, tag, attributes])
    return page


@pytest.fixture
def page(visitor: Visitor) -> Page:
    return mount(visitor, "prompt_field", "prompt-field", label="Prompt")


@pytest.fixture
def area(page: Page) -> Locator:
    found = page.get_by_role("textbox", name="Prompt")
    found.focus()
    return found


def heard(page: Page) -> list[Any]:
    found: list[Any] = page.evaluate("window.heard")
    return found


def marks(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.locator(".marks span").evaluate_all(
        "all => all.map(one => [one.className, one.textContent])"
    )
    return found


def test_syntax_is_marked_behind_a_text_area_that_has_the_text_itself(page: Page, area: Locator) -> None:
    area.press_sequentially("a (red:1.2) fox BREAK sky")
    assert marks(page) == [["weight", "(red:1.2)"], ["keyword", "BREAK"]]
    expect(area).to_have_value("a (red:1.2) fox BREAK sky")
    assert heard(page)[-1] == ["change", "a (red:1.2) fox BREAK sky"]
    widths = [
        page.locator(one).evaluate("one => one.clientWidth") for one in (".marks", "prompt-field textarea")
    ]
    assert widths[0] == widths[1] > 0


def test_marks_lie_under_the_letters_also_in_long_texts(page: Page, area: Locator) -> None:
    area.fill("a quick brown fox, " * 40 + "(the end:1.3)")
    expect(page.locator(".tokens")).to_contain_text("tokens in")
    area.evaluate("area => { area.style.maxBlockSize = '6rem'; area.scrollTop = area.scrollHeight; }")
    wait_for("the same place", lambda: page.locator(".marks").evaluate(TOP) == area.evaluate(TOP) > 0)
    mark = page.locator(".marks .weight").last.bounding_box()
    box = area.bounding_box()
    assert mark is not None
    assert box is not None
    assert box["y"] <= mark["y"] <= box["y"] + box["height"]


def test_tokens_are_counted_by_the_server_chunk_by_chunk(page: Page, area: Locator) -> None:
    tokens = page.locator(".tokens")
    expect(tokens).to_have_text("0 of 75 tokens")
    area.fill("a red fox")
    expect(tokens).to_have_text("3 of 75 tokens")
    area.fill("👩 a red fox BREAK sky")
    expect(tokens).to_contain_text("tokens in 2 chunks:")
    expect(page.locator(".marks .break")).to_have_count(1)
    before = page.locator(".marks").evaluate("""marks => {
        const range = document.createRange();
        range.setStart(marks, 0);
        range.setEndBefore(marks.querySelector(".break"));
        return range.toString();
    }""")
    assert before == "👩 a red fox BREAK "


def test_what_a_technique_cuts_off_is_told(visitor: Visitor) -> None:
    page = mount(visitor, "prompt_field", "prompt-field", label="Prompt", technique="none")
    page.get_by_role("textbox", name="Prompt").fill("cat " * 75 + "the End")
    expect(page.locator(".tokens")).to_have_text("75 of 75 tokens Cut off: the End")


def test_a_lora_is_completed_by_keyboard_and_told(page: Page, area: Locator) -> None:
    area.press_sequentially("a fox <lora:wa")
    options = page.get_by_role("option")
    expect(options).to_have_count(2)
    expect(options.first).to_have_attribute("aria-selected", "true")
    first = options.first.get_attribute("id")
    expect(area).to_have_attribute("aria-activedescendant", str(first))
    area.press("ArrowDown")
    area.press("Enter")
    expect(area).to_have_value("a fox <lora:l2:1>")
    expect(page.get_by_role("listbox")).not_to_be_visible()
    assert [
        "pick",
        {"kind": "lora", "model_id": "l2", "name": "watermark: old", "word": "watermark: old"},
    ] in heard(page)
    area.press("Control+z")
    expect(area).to_have_value("a fox <lora:wa")


def test_an_embedding_is_completed_by_touch_and_marked_once_the_job_has_it(page: Page, area: Locator) -> None:
    area.press_sequentially("at du")
    page.get_by_role("option", name="dusk").click()
    expect(area).to_have_value("at dusk")
    expect(area).to_be_focused()
    assert marks(page) == []
    page.evaluate("document.querySelector('prompt-field').embeddings = ['e1']")
    assert marks(page) == [["word", "dusk"]]


def test_a_list_of_wildcards_is_completed_and_marked_where_the_server_chooses(
    visitor: Visitor, page: Page, area: Locator
) -> None:
    shown = httpx.get(f"{visitor.url}v1/wildcards/animals%2Fcats").json()
    assert [line["text"] for line in shown["items"]] == ["tiger", "lynx"]
    area.press_sequentially("a __CAT")
    expect(page.get_by_role("option")).to_have_text("animals/catswildcards · 2 lines")
    area.press("Enter")
    expect(area).to_have_value("a __animals/cats__")
    expect(page.locator(".tokens")).to_contain_text("(before choices are made)")
    assert marks(page) == [["wildcard", "__animals/cats__"]]
    page.evaluate("document.querySelector('prompt-field').setAttribute('wildcards', 'false')")
    expect(page.locator(".tokens")).not_to_contain_text("choices")
    assert marks(page) == []


def test_an_ordinary_word_can_be_written_beside_a_list_of_names(page: Page, area: Locator) -> None:
    area.press_sequentially("du")
    expect(page.get_by_role("option")).to_have_count(1)
    area.press("Enter")
    area.press_sequentially("dus")
    area.press("Escape")
    expect(page.get_by_role("listbox")).not_to_be_visible()
    expect(area).to_have_value("du\ndus")


def test_control_and_arrows_weigh_the_word_at_the_caret(page: Page, area: Locator) -> None:
    area.press_sequentially("a red fox")
    area.press("Control+ArrowUp")
    area.press("Control+ArrowUp")
    expect(area).to_have_value("a red (fox:1.2)")
    area.press("Control+ArrowDown")
    area.press("Control+ArrowDown")
    expect(area).to_have_value("a red fox")
    area.press("Control+z")
    expect(area).to_have_value("a red (fox:1.1)")


def test_a_refused_prompt_says_so_until_it_is_changed(page: Page, area: Locator) -> None:
    page.evaluate("document.querySelector('prompt-field').fault = 'too long'")
    expect(area).to_have_attribute("aria-invalid", "true")
    expect(area).to_have_accessible_description("0 of 75 tokens too long")
    area.press("a")
    expect(area).to_have_attribute("aria-invalid", "false")


@pytest.mark.skipif(not AXE.exists(), reason="the packages of tests/web are not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_names_are_offered(page: Page, area: Locator, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    area.press_sequentially("(red:1.2) [old] BREAK \\( <lora:x> <lora:wa")
    expect(page.get_by_role("listbox", name="Names that fit")).to_be_visible()
    expect(page.locator(".tokens")).to_contain_text("tokens in 2 chunks")
    page.evaluate("document.querySelector('main').prepend(document.createElement('h1'))")
    page.evaluate("document.querySelector('h1').textContent = 'Prompts'")
    assert faults(page) == []


def chosen(page: Page, presets: Locator) -> Any:
    """What the bar tells when the preset is chosen anew."""
    presets.select_option("")
    presets.select_option("sketch")
    return heard(page)[-1]


def test_presets_are_saved_loaded_renamed_and_deleted(visitor: Visitor) -> None:
    page = mount(visitor, "preset_bar", "preset-bar")
    presets = page.get_by_role("combobox", name="Preset")
    expect(page.get_by_role("button", name="Rename …")).not_to_be_visible()
    page.evaluate("window.fields = {steps: 12, prompt: 'a sketch'}")
    page.get_by_role("button", name="Save as …").click()
    dialog = page.get_by_role("dialog", name="Save as …")
    dialog.get_by_label("Name").fill("..")
    dialog.get_by_role("button", name="Save as …").click()
    assert dialog.get_by_label("Name").evaluate("field => field.validity.patternMismatch")
    dialog.get_by_label("Name").fill("my sketch/2")
    dialog.get_by_role("button", name="Save as …").click()
    expect(dialog).not_to_be_visible()
    expect(presets).to_have_value("my sketch/2")
    page.get_by_role("button", name="Rename …").click()
    page.get_by_label("Name", exact=True).fill("sketch")
    page.get_by_role("dialog").get_by_role("button", name="Rename …").click()
    expect(presets).to_have_value("sketch")
    assert [one["name"] for one in httpx.get(f"{visitor.url}v1/presets").json()["items"]] == ["sketch"]
    page.evaluate("window.fields = {steps: 13}")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    told = ["load", {"name": "sketch", "fields": {"steps": 13}}]
    wait_for("what was saved last", lambda: chosen(page, presets) == told)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(presets).to_have_value("")
    assert httpx.get(f"{visitor.url}v1/presets").json()["items"] == []


def test_a_preset_with_a_field_that_no_job_has_is_refused_beside_its_name(
    visitor: Visitor,
) -> None:
    page = mount(visitor, "preset_bar", "preset-bar")
    page.evaluate("window.fields = {stepz: 12}")
    page.get_by_role("button", name="Save as …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("wrong")
    dialog.get_by_role("button", name="Save as …").click()
    expect(dialog.get_by_role("alert")).to_have_text("stepz: unknown field; did you mean steps?")
