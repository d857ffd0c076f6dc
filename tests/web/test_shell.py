"""The frame of the web page: what is served, how views change, what is said when the server is gone."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.web.conftest import Visitor

VIEWS = ("Create", "Queue", "Gallery", "Models", "Engines", "System")


def test_the_page_allows_nothing_but_this_server(visitor: Visitor) -> None:
    answer = httpx.get(visitor.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    requests: list[str] = []
    visitor.page.on("request", lambda request: requests.append(request.url))
    visitor.visit()
    assert [url for url in requests if not url.startswith((visitor.url, "data:", "blob:"))] == []


def test_files_of_the_page_are_compressed_and_asked_for_once(visitor: Visitor) -> None:
    with httpx.Client(base_url=visitor.url) as client:
        first = client.get("web/app/main.js")
        assert first.headers["content-encoding"] == "gzip"
        plain = client.get("web/app/main.js", headers={"Accept-Encoding": "identity"})
        assert plain.content == first.content
        again = client.get("web/app/main.js", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["app/none.js", "app/..%2fmain.py", "../http/app.py", "app/__init__.py", "app"]
)
def test_nothing_else_is_served(visitor: Visitor, path: str) -> None:
    answer = httpx.get(f"{visitor.url}web/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path")


def test_every_view_can_be_reached_by_its_link(visitor: Visitor) -> None:
    page = visitor.visit()
    for view in VIEWS:
        page.get_by_role("navigation").get_by_role("link", name=view).click()
        expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text(view)
        expect(page.get_by_role("heading", level=1)).to_be_attached()
    page.go_back()
    expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text("Engines")


def test_the_keyboard_alone_leads_past_the_navigation(visitor: Visitor) -> None:
    page = visitor.visit("queue")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_a_theme_stays_over_a_reload(visitor: Visitor) -> None:
    page = visitor.visit()
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
