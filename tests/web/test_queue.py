"""The view Queue: watch jobs, cancel them, change their order, through all that happens to a server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server
from tests.web.conftest import Visitor, visitor_of


def submit(server: Server, prompt: str, **values: object) -> str:
    job = {"checkpoint": PLAIN, "prompt": prompt, "steps": 4, "width": 64, "height": 64} | values
    answer = httpx.post(f"http://127.0.0.1:{server.port}/v1/jobs", json=job, timeout=PATIENCE_S)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def card(page: Page, prompt: str, section: str) -> Locator:
    return page.get_by_role("region", name=section, exact=True).locator("job-card").filter(has_text=prompt)


def test_a_job_is_watched_from_its_place_to_its_images(visitor: Visitor) -> None:
    server = visitor.server
    go = server.folder / "go"
    first = submit(server, f"[until {go}] a red fox", priority=9)
    page = visitor.visit("queue")
    expect(card(page, "a red fox", "Running")).to_be_visible()
    submit(server, f"[until {go}] a blue owl", width=128)
    expect(card(page, "a blue owl", "Running").or_(card(page, "a blue owl", "Waiting"))).to_be_visible()
    go.touch()
    expect(card(page, "a red fox", "Just ended")).to_contain_text("finished")
    expect(card(page, "a blue owl", "Just ended")).to_contain_text("finished")
    link = card(page, "a red fox", "Just ended").get_by_role("link").first
    job = httpx.get(f"{visitor.url}v1/jobs/{first}").json()
    assert str(link.get_attribute("href")).endswith(job["image_id"])
    go.unlink()


def test_a_running_job_is_canceled_and_tried_again(visitor: Visitor) -> None:
    page = visitor.visit("queue")
    submit(visitor.server, "[slow 100ms] a tired snail", steps=100)
    running = card(page, "a tired snail", "Running")
    expect(running).to_contain_text("step ")
    expect(running.get_by_role("progressbar")).to_be_visible()
    running.get_by_role("button", name="Cancel").click()
    ended = card(page, "a tired snail", "Just ended")
    expect(ended).to_contain_text("canceled")
    ended.get_by_role("button", name="Try again").click()
    expect(running).to_be_visible()
    running.get_by_role("button", name="Cancel").click()
    expect(running).not_to_be_visible()


def test_the_order_of_waiting_jobs_is_changed(visitor: Visitor) -> None:
    with httpx.Client(base_url=visitor.url) as http:
        http.patch("/v1/queue/pause")
        for name in ("first", "second", "third"):
            submit(visitor.server, f"the {name} in line")
        page = visitor.visit("queue")
        waiting = page.get_by_role("region", name="Waiting", exact=True).locator("job-card")
        expect(waiting.locator(".prompt")).to_have_text(
            [f"the {name} in line" for name in ("first", "second", "third")]
        )
        expect(waiting.first).to_contain_text("its queue is paused")
        card(page, "the third in line", "Waiting").get_by_role("button", name="Sooner").click()
        expect(waiting.first).to_contain_text("the third in line")
        expect(waiting.first).to_contain_text("priority 1")
        page.get_by_role("button", name="Resume all").click()
        expect(page.get_by_role("button", name="Pause all")).to_be_visible()
        expect(card(page, "the first in line", "Just ended")).to_contain_text("finished")


def test_a_failed_job_says_why(visitor: Visitor) -> None:
    submit(visitor.server, "[fail] a broken vase")
    page = visitor.visit("queue")
    failed = card(page, "a broken vase", "Just ended")
    expect(failed).to_contain_text("failed")
    expect(failed.locator(".fault")).not_to_be_empty()


def test_without_a_stream_it_is_read_again_and_again(visitor: Visitor) -> None:
    page = visitor.page
    page.route("**/v1/events", lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}, json={}))
    visitor.visit("queue")
    expect(page.get_by_text("The server has no stream left")).to_be_visible()
    submit(visitor.server, "seen without a stream")
    expect(card(page, "seen without a stream", "Just ended")).to_contain_text("finished")


@pytest.fixture
def mortal(installed: Path, chromium: Browser) -> Iterator[Visitor]:
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        yield from visitor_of(chromium, server)


def test_a_server_may_be_killed_and_come_back_while_somebody_watches(mortal: Visitor) -> None:
    server, page = mortal.server, mortal.visit("queue")
    submit(server, "[slow 100ms] a patient heron", steps=50)
    expect(card(page, "a patient heron", "Running")).to_contain_text("step ")
    server.kill()
    expect(page.get_by_text("Connection lost")).to_be_visible()
    server.start()
    expect(page.get_by_text("Connection lost")).not_to_be_visible()
    expect(card(page, "a patient heron", "Just ended")).to_contain_text("finished")
    wait_for(
        "the image", lambda: card(page, "a patient heron", "Just ended").get_by_role("link").count() == 1
    )
