"""What belongs to a key: users see and change their own jobs and images, and find nothing of others."""

from typing import Any, Final

import falcon.testing
import pytest

from kernel.protocol import client
from kernel.protocol.enums import Role
from kernel.protocol.ids import EngineId, JobId
from tests.unit.api.fake_bus import accepted
from tests.unit.api.stage import Stage
from tests.unit.api.test_access import bearer

OWNERS: Final = ("alice", "bob", None)
"""Of the jobs j0, j1, j2, j3 ...; None: from before there were keys."""
JOBS: Final = 9


class Shared:
    """A server with the keys of two users, a viewer and an admin, and jobs of all of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        roles = {"alice": Role.USER, "bob": Role.USER, "eve": Role.VIEWER, "root": Role.ADMIN}
        self.headers = {name: bearer(stage.add_key(name, role)) for name, role in roles.items()}
        stage.database.add_model("m1")
        stage.database.add_engine("e1", "portraits")
        stage.database.add_engine("e2")
        for number in range(JOBS):
            owner = OWNERS[number % 3]
            engine, status = f"e{1 + number % 2}", ("finished", "waiting", "failed")[number // 3]
            key_id = None if owner is None else stage.keys[owner]
            stage.database.add_job(number, f"j{number}", engine_id=engine, status=status, key_id=key_id)
            stage.database.add_image(f"i{number}", f"j{number}", engine_id=engine)

    def get(self, name: str, path: str) -> falcon.testing.Result:
        return self.stage.get(path, headers=self.headers[name])

    def ids(self, name: str, path: str, field: str) -> list[str]:
        result = self.get(name, path)
        assert result.status_code == 200, result.text
        return [one[field] for one in result.json["items"]]


@pytest.fixture
def shared(stage: Stage) -> Shared:
    return Shared(stage)


OWN: Final = {"alice": ("6", "3", "0"), "bob": ("7", "4", "1")}
ALL: Final = tuple(str(number) for number in reversed(range(JOBS)))


@pytest.mark.parametrize("name", ["alice", "bob", "eve", "root"])
def test_lists_show_users_their_own_and_others_all(shared: Shared, name: str) -> None:
    expected = OWN.get(name, ALL)
    assert shared.ids(name, "/v1/jobs", "job_id") == [f"j{number}" for number in expected]
    assert shared.ids(name, "/v1/images", "image_id") == [f"i{number}" for number in expected]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("status=finished", ["0"]),
        ("status=waiting", ["3"]),
        ("engine_id=e1", ["6", "0"]),
        ("engine_id=e1&status=failed", ["6"]),
        ("engine_id=e2&status=failed", []),
        ("limit=1", ["6"]),
        ("order=oldest&limit=2", ["0", "3"]),
        ("key=alice", ["6", "3", "0"]),
        ("key=bob", []),
        ("key=nobody", []),
    ],
)
def test_every_filter_of_jobs_stays_within_what_is_the_users_own(
    shared: Shared, query: str, numbers: list[str]
) -> None:
    assert shared.ids("alice", f"/v1/jobs?{query}", "job_id") == [f"j{number}" for number in numbers]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("engine_id=e1", ["6", "0"]),
        ("engine=portraits", ["6", "0"]),
        ("gone=false", ["6", "3", "0"]),
        ("gone=true", []),
        ("prompt=cat", ["6", "3", "0"]),
        ("job_id=j3", ["3"]),
        ("job_id=j4", []),
        ("order=oldest", ["0", "3", "6"]),
        ("key=bob", []),
    ],
)
def test_every_filter_of_images_stays_within_what_is_the_users_own(
    shared: Shared, query: str, numbers: list[str]
) -> None:
    assert shared.ids("alice", f"/v1/images?{query}", "image_id") == [f"i{number}" for number in numbers]


def test_pages_of_a_users_lists_lead_on(shared: Shared) -> None:
    for path, field in (("/v1/jobs", "job_id"), ("/v1/images", "image_id")):
        found: list[str] = []
        after = ""
        while True:
            page = shared.get("alice", f"{path}?limit=1{after}").json
            found += [one[field] for one in page["items"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert [one[1:] for one in found] == ["6", "3", "0"]


@pytest.mark.parametrize("name", ["eve", "root"])
def test_who_sees_all_can_ask_for_those_of_one_key(shared: Shared, name: str) -> None:
    for key in ("bob", shared.stage.keys["bob"]):
        assert shared.ids(name, f"/v1/jobs?key={key}", "job_id") == ["j7", "j4", "j1"]
        assert shared.ids(name, f"/v1/images?key={key}&gone=false", "image_id") == ["i7", "i4", "i1"]
    assert shared.ids(name, "/v1/jobs?key=nobody", "job_id") == []
    assert shared.ids(name, "/v1/images?key=nobody", "image_id") == []


def test_jobs_and_images_say_whose_they_are(shared: Shared) -> None:
    bob = shared.stage.keys["bob"]
    for path in ("/v1/jobs/j1", "/v1/images/i1"):
        shown = shared.get("root", path).json
        assert (shown["key_id"], shown["names"][bob]) == (bob, "bob")
        assert shared.get("root", path.replace("1", "2").replace("v2", "v1")).json["key_id"] is None


OF_JOBS: Final = [
    ("GET", "/v1/jobs/{}", None),
    ("GET", "/v1/jobs/{}?wait=1", None),
    ("GET", "/v1/jobs/{}/events", None),
    ("PATCH", "/v1/jobs/{}", {"priority": 1}),
    ("DELETE", "/v1/jobs/{}", None),
    ("POST", "/v1/jobs/{}/cancel", None),
    ("POST", "/v1/jobs/{}/retry", None),
]
OF_IMAGES: Final = [
    ("GET", "/v1/images/{}", None),
    ("GET", "/v1/images/{}/download", None),
    ("HEAD", "/v1/images/{}/download", None),
    ("GET", "/v1/images/{}/thumbnail", None),
    ("GET", "/v1/images/{}/reference", None),
    ("GET", "/v1/images/{}/mask", None),
    ("GET", "/v1/images/{}/pose", None),
    ("GET", "/v1/images/{}/pose_map", None),
    ("PATCH", "/v1/images/{}", {"favorite": True}),
    ("DELETE", "/v1/images/{}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OF_JOBS + OF_IMAGES)
def test_what_belongs_to_others_is_not_found_and_the_manager_is_not_asked(
    shared: Shared, method: str, path: str, body: dict[str, Any] | None
) -> None:
    letter = "j" if "/jobs/" in path else "i"
    for number in (1, 2, 99):  # of bob, of nobody, and not there at all
        headers = shared.headers["alice"]
        result = shared.stage.call(method, path.format(f"{letter}{number}"), body, headers=headers)
        assert result.status_code == 404, result.text
        if method != "HEAD":
            assert result.json["code"] in ("job_not_found", "image_not_found")
    assert shared.stage.bus.asked == []


@pytest.mark.parametrize("name", ["alice", "root"])
def test_owners_and_admins_change_what_they_see(shared: Shared, name: str) -> None:
    bus = shared.stage.bus
    asks = (client.CancelJob, client.EditJob, client.DeleteJob, client.EditImage, client.DeleteImage)
    bus.reactions |= dict.fromkeys(asks, client.Done())
    for method, path, body in OF_JOBS[3:6] + OF_IMAGES[-2:]:
        target = path.format("j0" if "/jobs/" in path else "i0")
        result = shared.stage.call(method, target, body, headers=shared.headers[name])
        assert result.status_code in (200, 204), result.text
    assert {type(ask) for ask in bus.asked} == set(asks)


def test_no_job_is_like_an_image_that_is_not_seen(shared: Shared) -> None:
    bus = shared.stage.bus
    bus.reactions[client.SubmitJob] = accepted("j9")
    answers = [
        shared.stage.post("/v1/jobs", {"like": image, "steps": 3}, headers=shared.headers["alice"])
        for image in ("i0", "i1", "i2", "i99")
    ]
    assert [one.status_code for one in answers] == [202, 404, 404, 404]
    texts = [one.text.replace(f"i{n}", "X") for n, one in zip((1, 2, 99), answers[1:], strict=True)]
    strip = [text[: text.index("request_id")] for text in texts]
    assert strip[0] == strip[1] == strip[2], "nothing tells one that is there from one that is not"


def test_a_job_is_submitted_with_the_key_of_its_caller(shared: Shared) -> None:
    bus = shared.stage.bus
    bus.reactions[client.SubmitJob] = accepted("j9")
    for name in ("alice", "root"):
        shared.stage.post("/v1/jobs", {"engine_id": "e1"}, headers=shared.headers[name])
        ask = shared.stage.last_ask
        assert isinstance(ask, client.SubmitJob)
        assert ask.key_id == shared.stage.keys[name]


def test_images_are_pruned_by_key(shared: Shared) -> None:
    bus = shared.stage.bus
    bus.reactions[client.DeleteImages] = client.ImagesPruned(images=3, size_bytes=30)
    result = shared.stage.post("/v1/images/prune", {"key": "bob"}, headers=shared.headers["root"])
    assert result.status_code == 200, result.text
    ask = shared.stage.last_ask
    assert isinstance(ask, client.DeleteImages)
    assert sorted(ask.image_ids) == ["i1", "i4", "i7"]
    wrong = shared.stage.post("/v1/images/prune", {"key": "nobody"}, headers=shared.headers["root"])
    assert (wrong.status_code, wrong.json["fields"][0]["field"]) == (422, "key")
    assert len(bus.asked) == 1, "a name that is misspelled deletes nothing"


def told(shared: Shared, name: str) -> str:
    """What a stream of all changes tells, until the server stops."""
    result = shared.stage.get("/v1/events", headers=shared.headers[name] | {"Last-Event-ID": "0"})
    assert result.status_code == 200
    return result.text


@pytest.mark.parametrize(
    ("name", "ids"), [("alice", {"j0", "i0", "e1"}), ("root", {"j0", "i0", "j1", "e1", "k"})]
)
def test_the_stream_of_all_changes_tells_users_of_their_own(shared: Shared, name: str, ids: set[str]) -> None:
    stage = shared.stage
    alice, bob = stage.keys["alice"], stage.keys["bob"]
    changes = [
        ("job", "j0", alice),
        ("image", "i0", alice),
        ("job", "j1", bob),
        ("engine", "e1", None),
        ("key", "k", None),
    ]
    for seq, (kind, thing_id, key_id) in enumerate(changes, start=1):
        stage.database.add_event(seq, kind, thing_id, "x", key_id=key_id)
    stage.hub.close()
    text = told(shared, name)
    assert {thing_id for _, thing_id, _ in changes if f'"id":"{thing_id}"' in text} == ids


def test_the_stream_of_all_changes_shows_users_the_progress_of_their_own_jobs(shared: Shared) -> None:
    stage = shared.stage
    subscriptions = {
        name: stage.hub.subscribe(None, subscriber=stage.app.access.caller(_named(shared.headers[name])))
        for name in ("alice", "root")
    }
    for job_id, key in (("j1", "bob"), ("j0", "alice")):
        stage.hub.publish(client.JobProgress(job_id=JobId(job_id), step=1, steps=2, key_id=stage.keys[key]))
    stage.hub.publish(client.EngineProgress(engine_id=EngineId("e1"), bytes=1, total_bytes=2))
    heard = {name: [one.next(0), one.next(0), one.next(0)] for name, one in subscriptions.items()}
    jobs = {
        name: [one.job_id for one in notices if isinstance(one, client.JobProgress)]
        for name, notices in heard.items()
    }
    assert jobs == {"alice": ["j0"], "root": ["j1", "j0"]}
    assert any(isinstance(one, client.EngineProgress) for one in heard["alice"])


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.upper(): value for name, value in headers.items()}
