"""`spoon engines` against a server."""

import io
import json

import pytest

from api.cli.client.client_models import Engine
from api.cli.client.rest import Rest
from api.cli.client.wait import await_running
from api.cli.commands.engines import engines
from api.cli.engine_options import UNSET
from api.cli.exit_codes import TimedOut
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi, problem

ENGINE = {"engine_id": "e1", "name": "portraits", "status": "ready", "checkpoint": "m1", "device": "cpu",
          "queue": {"waiting": 3, "processing": 1}, "names": {"m1": "dreams"}}  # fmt: skip


@pytest.fixture
def portraits(api: FakeApi) -> FakeApi:
    """A server with one engine."""
    api.on("GET", "/v1/engines", Answer(body={"items": [ENGINE], "next": None}))
    api.on("GET", "/v1/engines/e1", Answer(body=ENGINE))
    api.on("GET", "/v1/engines/portraits", Answer(body=ENGINE))
    return api


def test_the_list_is_a_table(spoon: Spoon, portraits: FakeApi) -> None:
    ended = spoon("engines", "list", "--status", "ready")
    assert ended.out.splitlines()[1].split() == ["e1", "portraits", "ready", "cpu", "1+3", "dreams"]
    assert portraits.asked[0].query == {"status": "ready", "limit": "50"}


def test_an_engine_is_shown_by_its_name(spoon: Spoon, portraits: FakeApi) -> None:
    assert json.loads(spoon("engines", "show", "portraits", "--json").out) == ENGINE


def test_an_engine_is_made_of_a_checkpoint_by_name_and_of_what_was_said(
    spoon: Spoon, portraits: FakeApi
) -> None:
    portraits.on("POST", "/v1/engines", Answer(202, ENGINE | {"status": "starting"}))
    ended = spoon(
        "engines", "create", "dreams", "--name", "portraits", "--steps", "0", "--cfg", "0", "--keep-alive",
        "10m", "--give-up-after", "1h", "--no-start", "--wait",
    )  # fmt: skip
    assert ended.out == "e1  portraits: starting\n"
    assert portraits.asked[-1].body == {
        "checkpoint": "dreams", "name": "portraits", "steps": 0, "cfg": 0.0, "keep_alive_s": 600.0,
        "give_up_after": 3600.0, "start": False,
    }  # fmt: skip


def test_an_engine_is_checked_without_creating_it(spoon: Spoon, portraits: FakeApi) -> None:
    gpu = {"device": "cuda:0", "total_bytes": 24 * 10**9, "free_bytes": 9 * 10**9, "needed_bytes": 4 * 10**9}
    fits = gpu | {"images": 8, "taken_bytes": 6 * 10**9}
    portraits.on("POST", "/v1/engines", Answer(200, {"fits": True, "devices": [fits]}))
    ended = spoon("engines", "create", "dreams", "--validate-only")
    assert portraits.asked[-1].query == {"validate_only": "true"}
    assert ended.out == "cuda:0: it would get 6.0 GB for 8 images at once; 9.0 GB of 24.0 GB are left\nfits\n"
    portraits.on("POST", "/v1/engines", Answer(200, {"fits": False, "devices": [gpu], "detail": "too large"}))
    ended = spoon("engines", "create", "dreams", "--no-start", "--validate-only")
    assert ended.out == "cuda:0: it needs at least 4.0 GB; 9.0 GB of 24.0 GB are left\ntoo large\n"


def test_the_log_of_the_last_worker_is_printed(spoon: Spoon, portraits: FakeApi) -> None:
    logs = [{"worker_id": "w1-2", "lines": ["one", "t\x1bwo"]}, {"worker_id": "w1-1", "lines": ["old"]}]
    portraits.on("GET", "/v1/engines/e1/log", Answer(body={"items": logs}))
    assert spoon("engines", "log", "portraits", "-n", "2").out == "one\nt?wo\n"
    assert portraits.asked[-1].query == {"lines": "2"}
    portraits.on("GET", "/v1/engines/e1/log", Answer(body={"items": []}))
    assert spoon("engines", "log", "portraits").out == ""


def test_a_checkpoint_that_does_not_do_is_refused_by_the_server(spoon: Spoon, portraits: FakeApi) -> None:
    portraits.on("POST", "/v1/engines", problem(409, "model_not_ready", "the model is not ready"))
    ended = spoon("engines", "create", "dreams")
    assert (ended.code, ended.err) == (4, "spoon: the model is not ready [model_not_ready]\n")


def test_what_was_not_said_is_left_to_the_server(spoon: Spoon, portraits: FakeApi) -> None:
    portraits.on("POST", "/v1/engines", Answer(202, ENGINE))
    spoon("engines", "create", "dreams")
    assert portraits.asked[-1].body == {"checkpoint": "dreams"}


def test_creating_can_wait_until_the_engine_runs(spoon: Spoon, portraits: FakeApi) -> None:
    starting = Answer(202, ENGINE | {"status": "starting"})
    portraits.on("POST", "/v1/engines", starting)
    portraits.on("GET", "/v1/engines/e1", starting, Answer(body=ENGINE))
    assert spoon("engines", "create", "dreams", "--wait").out == "e1  portraits: ready\n"


@pytest.mark.parametrize(
    "states", [("closed", "closed"), ("closed", "starting"), ("stopping", "closed"), ("error", "error")]
)
def test_an_engine_stays_what_it_was_while_room_is_made_for_it(
    spoon: Spoon, portraits: FakeApi, states: tuple[str, str]
) -> None:
    waiting = [Answer(body=ENGINE | {"status": status}) for status in states]
    portraits.on("PATCH", "/v1/engines/e1/start", waiting[0])
    portraits.on("GET", "/v1/engines/e1", *waiting, Answer(body=ENGINE))
    assert spoon("engines", "start", "e1", "--wait").out == "e1  portraits: ready\n"


@pytest.mark.parametrize("states", [("starting", "closed"), ("closed", "stopping", "closed")])
def test_waiting_for_an_engine_that_is_closed_again_fails(
    spoon: Spoon, portraits: FakeApi, states: tuple[str, ...]
) -> None:
    answers = [Answer(body=ENGINE | {"status": status}) for status in states]
    portraits.on("PATCH", "/v1/engines/e1/start", answers[0])
    portraits.on("GET", "/v1/engines/e1", *answers)
    ended = spoon("engines", "start", "e1", "--wait")
    assert (ended.code, ended.err) == (6, "spoon: the engine is closed: no reason given [failed]\n")


def test_waiting_for_an_engine_says_what_for(spoon: Spoon, portraits: FakeApi) -> None:
    starting = ENGINE | {"status": "starting"}
    gigabytes = {"bytes": 945_000_000, "total_bytes": 2_100_000_000, "bytes_per_s": 105_000_000}
    other = ENGINE | {"engine_id": "e2", "name": "landscapes", "status": "working"}
    portraits.on("PATCH", "/v1/engines/e1/start", Answer(202, ENGINE | {"status": "closed"}))
    states = (
        ENGINE,
        ENGINE | {"status": "closed", "waiting_for_room": True},
        ENGINE | {"status": "closed", "waiting_for_capacity": "no node has\x1b[1m GPU"},
        starting | {"progress": gigabytes},
        ENGINE,
    )
    portraits.on("GET", "/v1/engines/e1", *(Answer(body=state) for state in states))
    portraits.on("GET", "/v1/engines", Answer(body={"items": [other, ENGINE | {"status": "closed"}]}))
    ended = spoon("engines", "start", "e1", "--wait")
    assert ended.err.splitlines() == [
        "waiting for memory, held by landscapes (working)",
        "waiting: no node has?[1m GPU",
        "loading 945.0 MB of 2.1 GB, 105.0 MB/s, 11 s left",
    ]


def test_waiting_for_room_that_never_comes_ends(portraits: FakeApi) -> None:
    portraits.on("GET", "/v1/engines/e1", Answer(body=ENGINE | {"status": "closed"}))
    with Rest(portraits.url) as rest, pytest.raises(TimedOut, match="still closed"):
        await_running(rest, Engine(engine_id="e1", status="closed"), limit_s=0.0)


def test_waiting_for_an_engine_that_cannot_start_says_why(spoon: Spoon, portraits: FakeApi) -> None:
    failed = Answer(
        body=ENGINE | {"status": "error", "error": {"code": "no_room", "detail": "not enough memory"}}
    )
    portraits.on("POST", "/v1/engines", Answer(202, ENGINE | {"status": "starting"}))
    portraits.on("GET", "/v1/engines/e1", failed)
    ended = spoon("engines", "create", "dreams", "--wait")
    assert (ended.code, ended.err) == (
        6,
        "spoon: the engine failed to start: not enough memory (no_room) [failed]\n",
    )


def test_engines_are_started_and_stopped(spoon: Spoon, portraits: FakeApi) -> None:
    portraits.on("PATCH", "/v1/engines/e1/start", Answer(202, ENGINE | {"status": "starting"}))
    portraits.on("PATCH", "/v1/engines/e1/stop", Answer(202, ENGINE | {"status": "stopping"}))
    assert spoon("engines", "start", "portraits").out == "e1  portraits: starting\n"
    assert json.loads(spoon("engines", "stop", "portraits", "--now", "--json").out)["status"] == "stopping"
    assert portraits.asked[-1].query == {"now": "true"}


def test_stopping_can_wait_until_the_engine_is_closed(spoon: Spoon, portraits: FakeApi) -> None:
    portraits.on("PATCH", "/v1/engines/e1/stop", Answer(202, ENGINE | {"status": "stopping"}))
    closed = Answer(body=ENGINE | {"status": "closed"})
    portraits.on(
        "GET",
        "/v1/engines/e1",
        Answer(body=ENGINE),
        Answer(body=ENGINE | {"status": "stopping", "queue": {"waiting": 3, "processing": 2}}),
        Answer(body=ENGINE | {"status": "stopping", "queue": {"waiting": 3, "processing": 1}}),
        closed,
    )
    running = [{"job_id": "j1", "status": "processing", "progress": {"step": 1, "steps": 9, "eta_s": left_s}}
               for left_s in (4.2, 65.0, None)]  # fmt: skip
    portraits.on("GET", "/v1/jobs", Answer(body={"items": running}), Answer(body={"items": running[2:]}))
    ended = spoon("engines", "stop", "e1", "--wait")
    assert ended.out == "e1  portraits: closed\n"
    first, second = ended.err.splitlines()
    assert first == "stopping: waiting for 2 running jobs, about 1 min 5 s"
    assert second == "stopping: waiting for 1 running job", "one that does not tell how long"
    asked = {"engine_id": "e1", "status": "processing", "limit": "50"}
    assert portraits.sent("GET", "/v1/jobs")[0].query == asked


def test_an_edit_sends_what_was_given_and_null_for_what_is_unset(spoon: Spoon, portraits: FakeApi) -> None:
    reloading = Answer(body=ENGINE | {"status": "stopping", "reloads": True})
    ready = Answer(body=ENGINE | {"status": "ready"})
    portraits.on("PATCH", "/v1/engines/e1", reloading)
    portraits.on("GET", "/v1/engines/e1", reloading, Answer(body=ENGINE | {"status": "starting"}), ready)
    given = ("--steps", "30", "--lora", "detail:0.6", "--no-autostart", "--keep-alive", "5m")
    ended = spoon("engines", "edit", "e1", *given, "--unset", "vae", "--unset", "scheduler-option", "--wait")
    assert (ended.code, ended.out) == (0, "e1  portraits: ready\n")
    assert "loads its checkpoint again" in ended.err
    (sent,) = portraits.sent("PATCH", "/v1/engines/e1")
    assert sent.body == {
        "steps": 30,
        "loras": [{"model_id": "detail", "weight": 0.6}],
        "autostart": False,
        "keep_alive_s": 300.0,
        "vae": None,
        "scheduler_config": None,
    }
    assert spoon("engines", "edit", "e1", "--autostart").code == 0
    assert portraits.sent("PATCH", "/v1/engines/e1")[-1].body == {"autostart": True}


@pytest.mark.parametrize("arguments", [(), ("--steps", "3", "--unset", "steps"), ("--unset", "checkpoint")])
def test_an_edit_that_makes_no_sense_is_a_wrong_call(
    spoon: Spoon, portraits: FakeApi, arguments: tuple[str, ...]
) -> None:
    assert spoon("engines", "edit", "e1", *arguments).code == 2
    assert portraits.sent("PATCH", "/v1/engines/e1") == []


def test_every_option_of_an_engine_can_be_unset() -> None:
    own = {"engine", "checkpoint", "unset", "is_waiting", "as_json", "help"}
    fields = {parameter.name for parameter in engines.commands["edit"].params} - own
    assert set(UNSET.values()) == fields
    start = {"start", "checkpoint", "validate_only"}
    assert fields == {parameter.name for parameter in engines.commands["create"].params} - own - start


def test_deleting_an_engine_asks_first(
    spoon: Spoon, portraits: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    portraits.on("DELETE", "/v1/engines/e1", Answer(204))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert spoon("engines", "delete", "portraits").code == 130
    assert portraits.sent("DELETE", "/v1/engines/e1") == []
    assert spoon("engines", "delete", "portraits", "--yes").out == "deleted portraits\n"
    assert len(portraits.sent("DELETE", "/v1/engines/e1")) == 1


def test_deleting_an_engine_keeps_its_images_if_asked_to(
    spoon: Spoon, portraits: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    portraits.on("DELETE", "/v1/engines/e1", Answer(204))
    portraits.on("GET", "/v1/images", Answer(body={"items": [{"image_id": "i1"}], "next": None}))
    assert spoon("engines", "delete", "portraits", "--images", "keep", "--yes").code == 0
    terminal = io.StringIO("keep\ny\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    asked = spoon("engines", "delete", "portraits")
    assert (asked.code, "keep its images" in asked.out + asked.err) == (0, True)
    assert spoon("engines", "delete", "portraits", "--yes").code == 0
    sent = [request.query["images"] for request in portraits.sent("DELETE", "/v1/engines/e1")]
    assert sent == ["keep", "keep", "delete"]


def test_a_question_that_nobody_can_answer_names_the_option_that_answers_it(
    spoon: Spoon, portraits: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ended = spoon("engines", "delete", "portraits")
    assert ended.code == 2
    assert "pass --yes" in ended.err
    assert portraits.sent("DELETE", "/v1/engines/e1") == []


def test_an_engine_that_is_not_there_is_named(spoon: Spoon, portraits: FakeApi) -> None:
    ended = spoon("engines", "start", "landscapes")
    assert ended.code == 3
    assert "no engine with id or name landscapes" in ended.err


def test_an_unknown_name_is_refused_with_the_nearest(spoon: Spoon, api: FakeApi) -> None:
    names = [{"name": name} for name in ("portraits", "landscapes", None)]
    api.on("GET", "/v1/engines", Answer(body={"items": names, "next": None}))
    api.on("GET", "/v1/models", Answer(body={"items": [{"name": "dreams"}], "next": None}))
    ended = spoon("engines", "show", "portrats")
    assert (ended.code, "did you mean portraits? see `spoon engines list`" in ended.err) == (3, True)
    assert "did you mean" not in spoon("engines", "show", "zzz").err
    assert "did you mean dreams?" in spoon("models", "show", "draems").err
