"""`spoon jobs` and `spoon images` against a server."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.cli.client.client_models import DownloadProgress, Job, Progress
from api.cli.client.events import Follower, Preview
from api.cli.client.rest import Rest
from api.cli.exit_codes import ServerUnreachable
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi, events, problem

WAITING = {"job_id": "j1", "status": "waiting", "image_ids": ["i1"], "prompt": "a fox", "progress": None,
           "created_at": "2026-01-31T12:00:05.123Z"}  # fmt: skip
FINISHED = WAITING | {"status": "finished"}
PICTURE = b"\x89PNG" + bytes(1000)


@pytest.fixture
def fox(api: FakeApi) -> FakeApi:
    """A server that draws one fox."""
    api.on("GET", "/v1/engines/e1", Answer(body={"engine_id": "e1", "status": "ready"}))
    engines = [{"engine_id": "e1", "name": "portraits", "status": "ready"}]
    api.on("GET", "/v1/engines", Answer(body={"items": engines, "next": None}))
    for engine in engines:
        api.on("GET", f"/v1/engines/{engine['name']}", Answer(body=engine))
    api.on("POST", "/v1/jobs", Answer(202, WAITING))
    api.on("GET", "/v1/jobs/j1", Answer(body=WAITING), Answer(body=FINISHED))
    stream = events(
        ": keep-alive", "", "id: 7", "event: state", 'data: {"status": "processing"}', "",
        "event: progress", 'data: {"step": 1, "steps": 4, "eta_s": 2.5}', "",
        "event: progress", 'data: {"step": 4, "steps": 4}', "",
        "id: 8", "event: state", 'data: {"status": "finished"}', "",
    )  # fmt: skip
    api.on("GET", "/v1/jobs/j1/events", stream)
    api.on("GET", "/v1/images/i1/download", Answer(raw=PICTURE, mime="image/png"))
    return api


def test_a_job_is_submitted_with_what_was_said(spoon: Spoon, fox: FakeApi) -> None:
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--seed", "0", "--cfg", "0", "--width", "128")
    assert (ended.code, ended.out) == (0, "j1  waiting  i1\n")
    assert fox.asked[-1].body == {"engine_id": "e1", "prompt": "a fox", "seed": 0, "cfg": 0.0, "width": 128}


def test_the_idempotency_key_travels_in_its_header(spoon: Spoon, fox: FakeApi) -> None:
    spoon("jobs", "submit", "a fox", "--engine", "e1", "--idempotency-key", "once")
    assert fox.asked[-1].headers["idempotency-key"] == "once"


def test_a_job_can_be_checked_only(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("POST", "/v1/jobs", Answer(200, {"valid": True}))
    assert (
        spoon("jobs", "submit", "a fox", "--engine", "e1", "--validate-only").out
        == "the job would be accepted\n"
    )
    assert fox.asked[-1].query == {"validate_only": "true"}
    checked = spoon("jobs", "submit", "a fox", "--engine", "e1", "--validate-only", "--json")
    assert json.loads(checked.out) == {"valid": True}


def test_a_watched_job_shows_its_steps_and_saves_its_picture(
    spoon: Spoon, fox: FakeApi, tmp_path: Path
) -> None:
    out = tmp_path / "fox.png"
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--watch", "--out", str(out))
    assert (ended.code, ended.out) == (0, "j1  finished  i1\n")
    assert ended.err.splitlines() == ["1/4 steps, 2 s left", "4/4 steps", f"saved {out}"]
    assert out.read_bytes() == PICTURE
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"waits_for": "turn", "queue_position": 3}, "waiting: 2 jobs ahead"),
        (
            {"waits_for": "turn", "queue_position": 3, "queue_eta_s": 95.2},
            "waiting: 2 jobs ahead, about 1 min 35 s",
        ),
        ({"waits_for": "turn", "queue_position": 1}, "waiting: next in the queue"),
        ({"waits_for": "engine"}, "waiting for the engine to start"),
        (
            {"waits_for": "paused", "engine_id": "e1"},
            "waiting: paused; `spoon queue resume e1` or `spoon queue resume`",
        ),
        ({"waits_for": "room"}, "waiting for memory, held by portraits (ready)"),
        (
            {"waits_for": "retry", "error": {"code": "worker_crashed", "detail": "it died; start it"}},
            "waiting: the engine has failed: it died; start it",
        ),
        (
            {"waits_for": "start", "engine_id": "e1"},
            "waiting: the engine is closed; start it with `spoon engines start e1`",
        ),
    ],
)
def test_who_watches_a_waiting_job_is_told_what_it_waits_for(
    spoon: Spoon, fox: FakeApi, place: dict[str, object], told: str
) -> None:
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING | place), Answer(body=FINISHED))
    assert spoon("jobs", "watch", "j1").err.splitlines()[0] == told
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING | place), Answer(body=FINISHED))
    assert spoon("jobs", "submit", "a fox", "--engine", "e1", "--wait").err == ""


def test_who_watches_is_told_what_changes_while_the_job_waits_and_how_far_its_engine_is(
    spoon: Spoon, fox: FakeApi
) -> None:
    third, second = (WAITING | {"waits_for": "turn", "queue_position": place} for place in (3, 2))
    starting = WAITING | {"waits_for": "engine"}
    bodies = (third, second, starting, FINISHED)
    fox.on("GET", "/v1/jobs/j1", *(Answer(body=body) for body in bodies))
    stream = events(
        ": keep-alive", "", ": keep-alive", "",
        "event: engine_progress", 'data: {"engine_id": "e1", "bytes": 3, "total_bytes": 4}', "",
        "id: 8", "event: state", 'data: {"status": "finished"}', "",
    )  # fmt: skip
    fox.on("GET", "/v1/jobs/j1/events", stream)
    assert spoon("jobs", "watch", "j1").err.splitlines() == [
        "waiting: 2 jobs ahead",
        "waiting: 1 job ahead",
        "waiting for the engine to start",
        "loading 3 B of 4 B",
    ]


def test_who_watches_is_told_when_the_engine_fails_meanwhile(spoon: Spoon, fox: FakeApi) -> None:
    told = '"waits_for": "repair", "error": {"code": "model_unreadable", "detail": "it is damaged; start it"}'
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING | {"waits_for": "engine"}), Answer(body=FINISHED))
    fox.on(
        "GET", "/v1/jobs/j1/events",
        events(
            "event: waiting", f'data: {{"job_id": "j1", {told}}}', "",
            "id: 8", "event: state", 'data: {"status": "finished"}', "",
        ),
    )  # fmt: skip
    assert spoon("jobs", "watch", "j1").err.splitlines() == [
        "waiting for the engine to start",
        "waiting: the engine has failed: it is damaged; start it",
    ]


def test_what_comes_after_the_steps_is_said(spoon: Spoon, fox: FakeApi) -> None:
    told = '"step": 4, "steps": 4, "stage"'
    fox.on(
        "GET", "/v1/jobs/j1/events",
        events(
            "event: progress", f'data: {{{told}: "denoising"}}', "",
            "event: progress", f'data: {{{told}: "removing_background"}}', "",
        ),
    )  # fmt: skip
    ended = spoon("jobs", "watch", "j1")
    assert ended.err.splitlines() == ["4/4 steps", "4/4 steps, removing the background"]


@pytest.mark.parametrize("option", ["--watch", "--wait"])
def test_what_was_drawn_otherwise_than_asked_is_said_on_stderr(
    spoon: Spoon, fox: FakeApi, option: str
) -> None:
    warnings = ["the prompt is cut off after 75 tokens", "a\nb"]
    fox.on("GET", "/v1/jobs/j1", Answer(body=FINISHED | {"warnings": warnings}))
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", option)
    assert (ended.code, ended.out) == (0, "j1  finished  i1\n")
    assert ended.err.splitlines()[-2:] == ["warning: the prompt is cut off after 75 tokens", "warning: a?b"]


def test_several_pictures_get_numbered_names(spoon: Spoon, fox: FakeApi, tmp_path: Path) -> None:
    fox.on("GET", "/v1/jobs/j1", Answer(body=FINISHED | {"image_ids": ["i1", "i2"]}))
    fox.on("GET", "/v1/images/i2/download", Answer(raw=b"two", mime="image/png"))
    spoon("jobs", "watch", "j1", "--out", str(tmp_path / "fox.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fox-1.png", "fox-2.png"]
    assert (tmp_path / "fox-2.png").read_bytes() == b"two"


def test_a_picture_that_could_not_be_saved_is_not_drawn(spoon: Spoon, fox: FakeApi, tmp_path: Path) -> None:
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--out", str(tmp_path / "absent/fox.png"))
    assert ended.code == 2
    assert f"folder {tmp_path}/absent does not exist" in ended.err
    assert fox.asked == []


def test_a_picture_that_is_drawn_but_not_saved_can_still_be_had(
    spoon: Spoon, fox: FakeApi, tmp_path: Path
) -> None:
    fox.on("GET", "/v1/images/i1/download", Answer(raw=b"half", is_cut=True))
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--out", str(tmp_path / "fox.png"))
    assert ended.code == 5
    assert "image not saved; get it with `spoon images download i1`\n" in ended.err


@pytest.mark.parametrize(
    ("name", "type_"), [("fox.jpg", "jpeg"), ("fox.JPEG", "jpeg"), ("fox.webp", "webp"), ("fox.png", "png")]
)
def test_the_suffix_says_what_kind_of_picture_is_wanted(
    spoon: Spoon, fox: FakeApi, tmp_path: Path, name: str, type_: str
) -> None:
    assert spoon("jobs", "submit", "a fox", "--engine", "e1", "--out", str(tmp_path / name)).code == 0
    (submitted,) = fox.sent("POST", "/v1/jobs")
    assert submitted.body == {"engine_id": "e1", "prompt": "a fox", "image_file_type": type_}


def test_a_suffix_that_contradicts_the_file_type_is_refused(
    spoon: Spoon, fox: FakeApi, tmp_path: Path
) -> None:
    out = tmp_path / "fox.jpg"
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--file-type", "png", "--out", str(out))
    assert ended.code == 2
    assert f"png does not match the suffix of {out}" in ended.err
    assert fox.asked == []


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (("submit", "a fox", "--engine", "e1", "--out", "x.gif"), ".png, .jpg or .webp"),
        (
            ("submit", "a fox", "--engine", "e1", "--file-type", "png", "--out", "x.gif"),
            ".png, .jpg or .webp",
        ),
        (("watch", "j1", "--out", "x.tiff"), ".png, .jpg or .webp"),
        (("submit", "a fox", "--engine", "e1", "--preview-to", "x.png"), ".jpg"),
    ],
)
def test_a_suffix_of_no_picture_that_is_made_is_refused(
    spoon: Spoon, fox: FakeApi, arguments: tuple[str, ...], ending: str
) -> None:
    ended = spoon("jobs", *arguments)
    assert ended.code == 2
    assert f"not supported; use {ending}" in " ".join(ended.err.split())
    assert fox.asked == []


def test_a_picture_that_comes_in_part_leaves_no_file(spoon: Spoon, fox: FakeApi, tmp_path: Path) -> None:
    fox.on("GET", "/v1/images/i1/download", Answer(raw=b"half", is_cut=True))
    assert spoon("images", "download", "i1", "--out", str(tmp_path / "fox.png")).code == 5
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_a_job_that_fails_says_why(spoon: Spoon, fox: FakeApi) -> None:
    fox.on(
        "GET",
        "/v1/jobs/j1",
        Answer(body=WAITING | {"status": "failed", "error": {"code": "out_of_memory", "detail": "no room"}}),
    )
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--wait")
    assert (ended.code, ended.out) == (6, "")
    assert ended.err == "spoon: job j1 failed: no room (out_of_memory) [failed]\n"


def test_waiting_for_a_job_that_is_cancelled_is_a_failure(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING | {"status": "cancelled"}))
    ended = spoon("jobs", "watch", "j1")
    assert (ended.code, ended.err) == (6, "spoon: job j1 was cancelled [failed]\n")


@dataclass
class Listener:
    """Remembers the progress that it is told."""

    seen: list[Progress]

    def waiting(self, job: Job) -> None:
        pass

    def loading(self, progress: DownloadProgress) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def preview(self, preview: Preview) -> None:
        pass


def test_a_stream_that_breaks_off_is_taken_up_where_it_ended(fox: FakeApi) -> None:
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING), Answer(body=WAITING), Answer(body=FINISHED))
    half = events("id: 7", "event: progress", 'data: {"step": 1, "steps": 4}', "")
    fox.on("GET", "/v1/jobs/j1/events", Answer(raw=half.raw, mime=half.mime, is_cut=True), events(""))
    seen, slept = list[Progress](), list[float]()
    with Rest(fox.url) as rest:
        Follower(rest, "j1", Listener(seen), slept.append).follow()
    streams = fox.sent("GET", "/v1/jobs/j1/events")
    assert [one.headers.get("last-event-id") for one in streams] == [None, "7"]
    assert ([one.step for one in seen], slept) == ([1], [1.0, 1.0])


def test_where_no_stream_is_free_the_job_is_asked(fox: FakeApi) -> None:
    drawn = WAITING | {"status": "processing", "progress": {"step": 2, "steps": 4, "fraction": 0.5}}
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING), Answer(body=drawn), Answer(body=FINISHED))
    fox.on("GET", "/v1/jobs/j1/events", problem(503, "unavailable", "too many streams"))
    seen, slept = list[Progress](), list[float]()
    with Rest(fox.url) as rest:
        Follower(rest, "j1", Listener(seen), slept.append).follow()
    assert [one.step for one in seen] == [2]
    assert slept == [1.0, 1.0]


def test_a_server_that_stays_away_is_given_up_after_a_minute() -> None:
    slept = list[float]()
    with Rest("http://127.0.0.1:1") as rest, pytest.raises(ServerUnreachable):
        Follower(rest, "j1", Listener([]), slept.append).follow()
    assert 50 <= sum(slept) <= 60


def test_interrupting_detaches_and_the_job_goes_on(
    spoon: Spoon, fox: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Follower) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Follower, "follow", interrupt)
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--watch")
    assert ended.code == 130
    assert (
        ended.err
        == "spoon: detached; the job continues, watch it again with `spoon jobs watch j1` [detached]\n"
    )
    assert fox.sent("POST", "/v1/jobs/j1/cancel") == []


def test_jobs_are_listed_shown_cancelled_and_deleted(spoon: Spoon, fox: FakeApi) -> None:
    shown = {"engine_id": "e1", "names": {"e1": "portraits"}, "prompt": "a\nfox" + "x" * 60}
    fox.on(
        "GET",
        "/v1/jobs",
        Answer(body={"items": [WAITING | shown], "next": None}),
    )
    fox.on("POST", "/v1/jobs/j1/cancel", Answer(200, WAITING | {"status": "cancelled"}))
    fox.on("DELETE", "/v1/jobs/j1", Answer(204))
    listed = spoon("jobs", "list", "--engine", "e1", "--status", "waiting").out.splitlines()
    assert listed[1] == f"j1  waiting  portraits  -         2026-01-31 12:00:05Z  a?fox{'x' * 32}..."
    assert fox.sent("GET", "/v1/jobs")[0].query == {"status": "waiting", "engine_id": "e1", "limit": "50"}
    spoon("jobs", "list", "--prompt", "fox", "--since", "7d", "--seed", "0", "--order", "Oldest", "--all")
    sought = {"prompt": "fox", "created_after": "7d", "seed": "0", "order": "oldest", "limit": "200"}
    assert fox.sent("GET", "/v1/jobs")[1].query == sought
    assert json.loads(spoon("jobs", "show", "j1", "--json").out) == WAITING
    assert spoon("jobs", "cancel", "j1").out == "j1  cancelled\n"
    assert spoon("jobs", "delete", "j1").out == "deleted j1\n"


def test_a_full_queue_is_a_reason_to_try_later(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("POST", "/v1/jobs", problem(429, "queue_full", "the queue is full"))
    assert spoon("jobs", "submit", "a fox", "--engine", "e1").code == 8


def test_pictures_are_listed_shown_and_deleted(spoon: Spoon, fox: FakeApi) -> None:
    image = {"image_id": "i1", "width": 128, "height": 64, "seed": 7, "downloads": 0, "size_bytes": 1004,
             "expires_at": None, "engine_id": "e9", "prompt": "a fox"}  # fmt: skip
    gone = image | {"gone": {"reason": "expired", "at": "2026-01-31T12:00:05Z"}}
    fox.on("GET", "/v1/images", Answer(body={"items": [image, gone], "next": None}))
    fox.on("GET", "/v1/images/i1", Answer(body=image))
    fox.on("POST", "/v1/images/delete", Answer(body={"not_found": ["i2"]}))
    lines = spoon("images", "list").out.splitlines()
    assert lines[1].split() == ["i1", "e9", "128x64", "1.0", "kB", "7", "0", "-", "a", "fox"]
    assert "gone: expired" in lines[2]
    spoon("images", "list", "--tag", "best", "--no-favorite", "--lora", "detail", "--until", "2026-01-31")
    sought = {
        "tag": "best",
        "favorite": "false",
        "lora": "detail",
        "created_before": "2026-01-31",
        "limit": "50",
    }
    assert fox.sent("GET", "/v1/images")[1].query == sought
    assert json.loads(spoon("images", "show", "i1", "--json").out) == image
    deleted = spoon("images", "delete", "i1", "i2")
    assert (deleted.out, deleted.code) == ("deleted i1\n", 3), deleted
    assert fox.sent("POST", "/v1/images/delete")[0].body == {"image_ids": ["i1", "i2"]}


def test_pictures_are_saved_as_one_zip(
    spoon: Spoon, fox: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fox.on("GET", "/v1/images/zip", Answer(body={"a": "zip"}))
    saved = spoon("images", "zip", "i1", "i2", "--out", "fox.zip")
    assert fox.sent("GET", "/v1/images/zip")[0].query == {"image_ids": "i1,i2"}
    assert json.loads(Path("fox.zip").read_bytes()) == {"a": "zip"}
    assert spoon("images", "zip", "--tag", "best", "--out", "fox.zip").code != 0, "it is not overwritten"
    assert "saved fox.zip" in saved.err


def test_pictures_that_a_deleted_engine_left_are_listed_by_its_name(spoon: Spoon, fox: FakeApi) -> None:
    image = {"image_id": "i1", "engine_id": "e9", "prompt": "a fox", "names": {"e9": "gone"}}
    left = Answer(body={"items": [image], "next": None})
    fox.on("GET", "/v1/images", left)
    assert spoon("images", "list", "--engine", "gone").out.splitlines()[1].split()[:2] == ["i1", "gone"]
    assert fox.sent("GET", "/v1/images")[-1].query == {"engine": "gone", "limit": "50"}
    fox.on("GET", "/v1/images", Answer(body={"items": [], "next": None}))
    ended = spoon("images", "list", "--engine", "never")
    assert (ended.code != 0, "no engine with id or name never" in ended.err) == (True, True)


def test_a_picture_is_saved_under_its_id_and_type(
    spoon: Spoon, fox: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spoon("images", "download", "i1").err == "saved i1.png\n"
    assert (tmp_path / "i1.png").read_bytes() == PICTURE


def test_a_picture_that_is_gone_says_why(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("GET", "/v1/images/i1/download", problem(410, "image_gone", "the image expired"))
    ended = spoon("images", "download", "i1")
    assert (ended.code, ended.err) == (3, "spoon: the image expired [image_gone]\n")


def test_an_image_is_tagged_marked_and_noted(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("GET", "/v1/images/i1", Answer(body={"image_id": "i1", "tags": ["old", "zoo"]}))
    fox.on("PATCH", "/v1/images/i1", Answer(body={"image_id": "i1"}))
    ended = spoon("images", "edit", "i1", "--tag", "best", "--tag", "zoo", "--untag", "old", "--favorite")
    assert (ended.code, ended.out) == (0, "edited i1\n")
    spoon("images", "edit", "i1", "--no-favorite", "--note", "")
    bodies = [asked.body for asked in fox.sent("PATCH", "/v1/images/i1")]
    assert bodies == [{"tags": ["zoo", "best"], "favorite": True}, {"favorite": False, "note": ""}]
    assert spoon("images", "edit", "i1").code == 2


NAMED = {"image_id": "i1", "job_id": "j1", "seed": 7, "index": 0, "width": 8, "height": 8,
         "created_at": "2026-01-31T12:00:05.123Z"}  # fmt: skip


def test_a_file_name_has_the_values_of_its_image(spoon: Spoon, fox: FakeApi, tmp_path: Path) -> None:
    fox.on("GET", "/v1/images/i1", Answer(body=NAMED))
    spoon("images", "download", "i1", "--out", str(tmp_path / "{date}_{time}-{seed}-{{{image_id}.png"))
    assert [file.name for file in tmp_path.iterdir()] == ["2026-01-31_12-00-05-7-{i1.png"]


def test_images_whose_names_would_be_one_are_numbered(spoon: Spoon, fox: FakeApi, tmp_path: Path) -> None:
    fox.on("GET", "/v1/images/i1", Answer(body=NAMED))
    fox.on("GET", "/v1/images/i2", Answer(body=NAMED | {"image_id": "i2", "index": 1}))
    fox.on("GET", "/v1/images/i2/download", Answer(raw=PICTURE, mime="image/png"))
    ended = FINISHED | {"image_ids": ["i1", "i2"]}
    for out, names in (
        ("{date}.png", ["2026-01-31-1.png", "2026-01-31-2.png"]),
        ("{index}.png", ["0.png", "1.png"]),
    ):
        fox.on("GET", "/v1/jobs/j1", Answer(body=ended))
        spoon("jobs", "watch", "j1", "--out", str(tmp_path / out))
        assert set(names) <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "name", ["{sed}.png", "{seed:>99}.png", "{seed!r}.png", "{image_id.x}.png", "{}.png", "{.png"]
)
def test_what_is_no_field_of_a_file_name_is_refused_with_the_fields(
    spoon: Spoon, fox: FakeApi, name: str
) -> None:
    ended = spoon("images", "download", "i1", "--out", name)
    assert ended.code == 2
    assert "use {date}, {time}, {seed}," in " ".join(ended.err.split())
    assert fox.asked == []


def test_with_json_a_refusal_is_told_as_the_server_told_it_in_options(spoon: Spoon, fox: FakeApi) -> None:
    wrong = ("remove_background_models", "unknown model x")
    fox.on("POST", "/v1/jobs", problem(409, "model_missing", ": ".join(wrong), wrong))
    ended = spoon("jobs", "submit", "a fox", "--json")
    assert (ended.code, ended.out) == (4, "")
    assert json.loads(ended.err) == {
        "code": "model_missing",
        "detail": "--remove-background: unknown model x",
        "fields": [{"field": "--remove-background", "problem": "unknown model x"}],
    }


def test_a_failed_job_is_submitted_again(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("POST", "/v1/jobs/j0/retry", Answer(202, WAITING))
    ended = spoon("jobs", "retry", "j0", "--idempotency-key", "k")
    assert (ended.code, ended.out) == (0, "j1  waiting  i1\n")
    (asked,) = fox.sent("POST", "/v1/jobs/j0/retry")
    assert (asked.headers["idempotency-key"], asked.body) == ("k", None)
    assert spoon("jobs", "retry", "j0", "--wait").out.startswith("j1  finished  ")


def test_a_job_that_is_not_failed_is_not_submitted_again(spoon: Spoon, fox: FakeApi) -> None:
    fox.on("POST", "/v1/jobs/j0/retry", problem(409, "illegal_move", "the job is finished"))
    ended = spoon("jobs", "retry", "j0")
    assert (ended.code, ended.out) == (4, "")
    assert "the job is finished" in ended.err
