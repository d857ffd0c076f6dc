"""Models, Engines and System in a browser: from the first model to the log of an engine in error."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.acceptance.orders import write_checkpoint
from tests.acceptance.server import Server
from tests.web.conftest import Visitor, visitor_of


@pytest.fixture
def phone(chromium: Browser, studio: Server) -> Iterator[Visitor]:
    """Somebody with a phone, in the dark."""
    size = {"width": 360, "height": 740}
    yield from visitor_of(chromium, studio, viewport=size, color_scheme="dark", has_touch=True)


@pytest.fixture
def api(studio: Server) -> Iterator[httpx.Client]:
    """A script that looks at what the page has done."""
    with httpx.Client(base_url=f"http://127.0.0.1:{studio.port}/v1/", timeout=30) as client:
        yield client


def model_named(api: httpx.Client, name: str) -> dict[str, object]:
    (found,) = api.get("models", params={"name": name}).json()["items"]
    assert isinstance(found, dict)
    return found


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def test_models_are_searched_and_filtered_as_the_address_says(visitor: Visitor) -> None:
    page = visitor.visit("models")
    expect(card(page, "plain")).to_contain_text("Checkpoint · SD")
    page.get_by_role("searchbox").fill("SLOW")
    expect(card(page, "plain")).to_have_count(0)
    expect(card(page, "slow-load-7s")).to_be_visible()
    assert page.url.endswith("search=SLOW")
    page.get_by_label("Type").select_option("lora")
    expect(page.get_by_text("No model is like that.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("SLOW")
    expect(page.get_by_text("No model is like that.")).to_be_visible()


def test_a_file_is_uploaded_copied_from_and_deleted(
    visitor: Visitor, api: httpx.Client, tmp_path: Path
) -> None:
    file = tmp_path / "zoo.safetensors"
    write_checkpoint(file)
    file.write_bytes(file.read_bytes()[:-1] + b"\1")  # a model of its own
    page = visitor.visit("models")
    page.get_by_role("button", name="Upload a file").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("File of this computer").set_input_files(file)
    dialog.get_by_label("Name").fill("zoo")
    dialog.get_by_text("More", exact=True).click()
    dialog.get_by_label("Trigger words").fill("a red fox, snow")
    dialog.get_by_role("button", name="Upload").click()
    zoo = card(page, "zoo")
    expect(zoo.get_by_text("Ready", exact=True)).to_be_visible()
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    zoo.get_by_role("button", name="Copy a red fox").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "a red fox"
    assert model_named(api, "zoo")["trigger_words"] == ["a red fox", "snow"]
    zoo.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_label("Delete what was downloaded").check()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(zoo).to_have_count(0)
    assert api.get("models", params={"name": "zoo"}).json()["items"] == []


def test_what_is_wrong_with_an_address_is_said_beside_it(visitor: Visitor) -> None:
    page = visitor.visit("models")
    page.get_by_role("button", name="Add a model").click()
    address = page.get_by_role("dialog").get_by_label("Address")
    expect(address).to_be_focused()
    address.fill("ftp://old.example/x")
    page.keyboard.press("Enter")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(address).to_have_accessible_description(re.compile("https://"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Scan my folders").click()
    expect(page.get_by_text("models.folders").first).to_be_visible()


def test_a_model_in_error_says_why_and_is_tried_again(
    visitor: Visitor, api: httpx.Client, tmp_path: Path
) -> None:
    page = visitor.visit("models")
    page.get_by_role("button", name="Add a model").click()
    dialog = page.get_by_role("dialog")
    file = tmp_path / "late.safetensors"
    file.write_bytes(b"not a model")
    dialog.get_by_label("Address").fill(f"file://{file}")
    dialog.get_by_role("button", name="Add").click()
    late = card(page, "late")
    expect(late.get_by_text("Error", exact=True)).to_be_visible()
    write_checkpoint(file)
    late.get_by_role("button", name="Try again").click()
    expect(late.get_by_text("Ready", exact=True)).to_be_visible()
    file.write_bytes(b"no model any more")
    late.get_by_role("button", name="Inspect again").click()
    expect(late.get_by_text("Error", exact=True)).to_be_visible()
    write_checkpoint(file)
    late.get_by_role("button", name="Try again").click()
    expect(late.get_by_text("Ready", exact=True)).to_be_visible()
    late.get_by_role("link", name="Create an engine").click()
    expect(page.get_by_role("dialog").get_by_label("Checkpoint")).to_have_value(
        str(model_named(api, "late")["model_id"])
    )


def test_an_engine_is_created_with_its_memory_in_view_edited_stopped_and_deleted(
    visitor: Visitor, api: httpx.Client
) -> None:
    page = visitor.visit("engines")
    page.get_by_role("button", name="Create an engine").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Checkpoint").select_option("plain")
    memory = dialog.get_by_role("region", name="Memory of the engine")
    expect(memory.get_by_text("There is enough memory for it")).to_be_visible()
    expect(memory.get_by_role("img")).to_have_accessible_name(re.compile(r"^cpu.*This engine \d"))
    dialog.get_by_label("Images at once").fill("1")
    expect(memory.get_by_text("one image at a time")).to_be_visible()
    dialog.get_by_label("Name").fill("studio")
    dialog.get_by_label("Images at once").fill("0")
    expect(dialog.get_by_label("Images at once")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Images at once").fill("2")
    dialog.get_by_role("button", name="Create", exact=True).click()
    studio = card(page, "studio")
    expect(studio.get_by_text("Ready", exact=True)).to_be_visible()
    studio.get_by_role("button", name="Pause").click()
    expect(studio.get_by_text("Paused")).to_be_visible()
    studio.get_by_role("button", name="Resume").click()
    studio.get_by_role("button", name="Edit").click()
    dialog.get_by_text("Defaults of its jobs").click()
    dialog.get_by_label("Steps").fill("9")
    dialog.get_by_text("How it runs").click()
    dialog.get_by_label("Workers").fill("1-2")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    found = api.get("engines/studio").json()
    assert (found["steps"], found["max_batch"], found["replicas"]) == (9, 2, {"min": 1, "max": 2})
    studio.get_by_role("button", name="Edit").click()
    dialog.get_by_text("How it runs").click()
    expect(dialog.get_by_label("Workers")).to_have_value("1-2")
    dialog.get_by_role("button", name="Cancel").click()
    studio.get_by_role("button", name="Stop").click()
    expect(studio.get_by_text("Closed")).to_be_visible()
    studio.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(studio).to_have_count(0)


def test_an_engine_in_error_says_why_and_shows_what_its_worker_wrote(
    visitor: Visitor, api: httpx.Client, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    path = f"file://{tmp_path}/a.safetensors"
    model = {"name": "fail-load", "path": path, "model_type": "checkpoint"}
    assert api.post("models", json=model, params={"wait": 30}).json()["status"] == "ready"
    page = visitor.visit("system")
    assert api.post("engines", json={"checkpoint": "fail-load", "name": "fragile"}).status_code == 201
    failed = page.locator("section").filter(has_text="Engines in error")
    expect(failed.get_by_text("start the engine, or delete")).to_be_visible()
    failed.get_by_role("button", name="Log").click()
    expect(page.get_by_role("dialog").get_by_text("action=worker_launched")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert api.delete("engines/fragile").status_code == 204
    expect(failed.get_by_text("None")).to_be_visible()


def test_the_system_is_told_with_disks_versions_and_checks(visitor: Visitor) -> None:
    page = visitor.visit("system")
    expect(page.get_by_text("Running", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Images: "))).to_be_visible()
    expect(page.get_by_text("automatic-spoon", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Check again")).to_be_enabled()
    page.get_by_text(re.compile(r"\d+ checks are fine")).click()
    expect(page.get_by_text("images.folder", exact=True)).to_be_visible()


@pytest.mark.parametrize("view", ["models", "engines", "system"])
def test_a_phone_needs_to_be_moved_in_one_direction_only(phone: Visitor, view: str) -> None:
    page = phone.visit(view)
    expect(page.locator("main .card, main .meter").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
