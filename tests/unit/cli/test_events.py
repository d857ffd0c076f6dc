"""Reading a stream of server-sent events, line by line."""

from api.cli.client.events import COMMENT, ServerEvent, read_events


def test_an_event_ends_with_an_empty_line() -> None:
    lines = ["event: state", "id: 3", "data: {", "data: }", "", "data:x", "", "data: unfinished"]
    assert list(read_events(lines)) == [ServerEvent("state", "{\n}", "3"), ServerEvent("message", "x", "3")]


def test_comments_are_told_and_unknown_fields_are_skipped() -> None:
    assert list(read_events([": alive", "", "retry: 5", "event: empty", "", "data: 1", ""])) == [
        ServerEvent(COMMENT, "", None),
        ServerEvent("message", "1", None),
    ]
