"""Wildcards: what a job's prompt becomes, what is refused, and the lists that there are."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from api.http.app import make_app
from api.http.framework.deferral import ShortRequest
from api.session import Outcome
from conf.settings import Wildcards
from kernel.protocol.client import JobValid, SubmitJob
from kernel.protocol.errors import QueueFull
from kernel.protocol.ids import EngineId
from kernel.protocol.specs import JobRequest
from tests.unit.api.fake_bus import accepted
from tests.unit.api.stage import NOW_MS, Stage, fields_of
from tests.unit.views.database import SPEC

# The tests' client would decode %2F, which the server keeps as this character (framework/request_head.py).
TEMPLATE = "a __animals/cats__ in {red|blue|green}"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "wildcards"
    (folder / "animals").mkdir(parents=True)
    (folder / "animals/cats.txt").write_text("# cats\ntiger\n\n  lynx  \n0::unicorn\n", "utf-8")
    (folder / "animals/dogs.txt").write_bytes("\ufeffpoodle\r\n3::b\u00e4r\r\n".encode())
    (folder / "loop.txt").write_text("__loop__", "utf-8")
    (folder / "notes.md").write_text("none", "utf-8")
    return folder


@pytest.fixture
def wild(stage: Stage, lists: Path) -> Stage:
    """A server that has these lists."""
    stage.settings = replace(stage.settings, wildcards=Wildcards(folders=(lists,)))
    stage.app = make_app(stage.settings, stage.bus, stage.reader, stage.hub, lambda: NOW_MS)
    stage.bus.reactions[SubmitJob] = accepted()
    return stage


def submitted(stage: Stage, body: dict[str, Any], key: str | None = None) -> JobRequest:
    result = stage.post("/v1/jobs", body, headers={"Idempotency-Key": key} if key else None)
    assert result.status_code == 202, result.text
    assert isinstance(stage.last_ask, SubmitJob)
    return stage.last_ask.request


def test_a_seed_chooses_the_same_prompt_and_the_job_keeps_the_template(wild: Stage) -> None:
    asked = {"engine_id": "e1", "prompt": TEMPLATE, "negative_prompt": "{dog|bird}", "seed": 7}
    first, again = submitted(wild, asked), submitted(wild, asked)
    assert first == again
    animal, color = first.prompt.removeprefix("a ").split(" in ")
    assert animal in ("tiger", "lynx")
    assert color in ("red", "blue", "green")
    assert first.negative_prompt in ("dog", "bird")
    assert (first.prompt_template, first.negative_prompt_template) == (TEMPLATE, "{dog|bird}")
    prompts = {submitted(wild, asked | {"seed": seed}).prompt for seed in range(30)}
    assert len(prompts) == 6, "each of the cats in each of the colors, and no unicorn"


def test_without_a_seed_each_job_has_its_own_and_a_repeated_request_the_same(wild: Stage) -> None:
    asked = {"engine_id": "e1", "prompt": "{" + "|".join(map(str, range(1_000))) + "}", "seed": -1}
    one, other = submitted(wild, asked), submitted(wild, asked)
    assert None not in (one.seed, other.seed)
    assert one.prompt != other.prompt
    assert submitted(wild, asked, "k1") == submitted(wild, asked, "k1") != submitted(wild, asked, "k2")


def test_a_prompt_without_choices_is_sent_as_it_is_typed(wild: Stage) -> None:
    for prompt in ("a cat, (red:1.2) [a|b]", "{{masterpiece}} x_y", "a {b"):
        request = submitted(wild, {"engine_id": "e1", "prompt": prompt})
        assert (request.prompt, request.prompt_template, request.seed) == (prompt, None, None)
    text = submitted(wild, {"engine_id": "e1", "prompt": TEMPLATE, "wildcards": False})
    assert (text.prompt, text.prompt_template) == (TEMPLATE, None)


def test_without_folders_all_is_text_unless_the_job_says_otherwise(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = accepted()
    assert submitted(stage, {"engine_id": "e1", "prompt": TEMPLATE}).prompt == TEMPLATE
    chosen = submitted(stage, {"engine_id": "e1", "prompt": "{a|b}", "wildcards": True})
    assert chosen.prompt in ("a", "b")
    refused = stage.post("/v1/jobs", {"engine_id": "e1", "prompt": "__x__", "wildcards": True})
    assert (refused.status_code, refused.json["code"]) == (404, "wildcard_not_found")
    assert "wildcards.folders" in refused.json["detail"]


@pytest.mark.parametrize(
    ("prompt", "status", "problem"),
    [
        ("a __animals/cat__", 404, "the nearest are animals/cats"),
        ("a __../secret__", 404, "there is no list '../secret'"),
        ("a __loop__", 422, "nested more than 20 deep"),
        ("${x=1}", 422, "variable"),
        ("{a|b}" * 600, 422, "more than 500 choices"),
        ("{a|b}" + "x" * 30_000, 422, "at most 30,000 characters"),
    ],
    ids=["near", "outside", "loop", "variable", "many", "long"],
)
def test_what_cannot_be_chosen_is_refused_with_the_field(
    wild: Stage, prompt: str, status: int, problem: str
) -> None:
    for query in ("", "?validate_only=true"):
        result = wild.post(f"/v1/jobs{query}", {"engine_id": "e1", "negative_prompt": prompt})
        assert (result.status_code, list(fields_of(result))) == (status, ["negative_prompt"])
        assert problem in fields_of(result)["negative_prompt"]
        assert "wildcards to false" in fields_of(result)["negative_prompt"]
    assert wild.bus.asked == []


def test_what_is_asked_before_is_judged_as_it_would_be_run(wild: Stage) -> None:
    wild.bus.reactions[SubmitJob] = JobValid(engine_id=EngineId("e1"))
    wild.post("/v1/jobs?validate_only=true", {"engine_id": "e1", "prompt": "__animals/cats__"})
    assert isinstance(wild.last_ask, SubmitJob)
    assert wild.last_ask.request.prompt in ("tiger", "lynx")


def test_a_job_with_choices_is_begun_by_a_thread(wild: Stage) -> None:
    def begins(prompt: str) -> bool:
        body = f'{{"engine_id": "e1", "prompt": "{prompt}"}}'.encode()
        headers = {"CONTENT_TYPE": "application/json", "HOST": "localhost"}
        request = ShortRequest("POST", "/v1/jobs", "", headers, body)
        return wild.app.deferral.begin(request, lambda outcome: told.append(outcome))

    told: list[Outcome] = []
    assert begins("a cat")
    assert not begins("a __animals/cats__")


@pytest.mark.parametrize(
    ("path", "field"), [("/sdapi/v1/txt2img", "detail"), ("/v1/images/generations", "error")]
)
def test_other_tools_clients_have_choices_too(wild: Stage, path: str, field: str) -> None:
    wild.bus.reactions[SubmitJob] = QueueFull()
    assert wild.post(path, {"prompt": "a __animals/cats__"}).status_code == 429
    assert isinstance(wild.last_ask, SubmitJob)
    assert wild.last_ask.request.prompt in ("a tiger", "a lynx")
    refused = wild.post(path, {"prompt": "a __animals/cat__"})
    assert refused.status_code == 404
    assert "the nearest are animals/cats" in str(refused.json[field])


def test_an_image_again_has_the_prompt_as_it_was_run(wild: Stage) -> None:
    spec = replace(SPEC, prompt="a {x|y} lynx", prompt_template=r"a \{x\|y\} __animals/cats__", seed=3)
    wild.database.add_engine("e1", "portraits")
    wild.database.add_job(1, "j1", spec=spec)
    wild.database.add_image("i1", "j1", seed=3)
    again = submitted(wild, {"like": "i1"})
    assert (again.prompt, again.prompt_template) == (spec.prompt, spec.prompt_template)
    new = submitted(wild, {"like": "i1", "prompt": "__animals/dogs__", "seed": 5})
    assert new.prompt in ("poodle", "b\u00e4r")
    assert new.prompt_template == "__animals/dogs__"
    assert wild.get("/v1/images/i1").json["prompt_template"] == spec.prompt_template


def test_lists_are_shown_in_pages_with_their_lines(wild: Stage) -> None:
    counts = {"animals/cats": 3, "animals/dogs": 2, "loop": 1}
    cats, dogs, loop = ({"name": name, "lines": lines} for name, lines in counts.items())
    assert wild.get("/v1/wildcards").json == {"items": [cats, dogs, loop], "next": None}
    page = wild.get("/v1/wildcards?limit=2").json
    assert page == {"items": [cats, dogs], "next": "animals/dogs"}
    assert wild.get("/v1/wildcards?after=animals/dogs").json["items"] == [loop]
    assert wild.get("/v1/wildcards?search=CAT").json["items"] == [cats]
    shown = wild.get("/v1/wildcards/animals%1Fdogs?limit=1").json
    first = {"text": "poodle", "weight": 1.0}
    assert shown == {"name": "animals/dogs", "lines": 2, "next": "1", "items": [first]}
    rest = wild.get("/v1/wildcards/animals%1Fdogs?after=1").json
    assert (rest["items"], rest["next"]) == ([{"text": "b\u00e4r", "weight": 3.0}], None)
    assert wild.get("/v1/wildcards/animals%1F*").json["lines"] == 5
    missing = wild.get("/v1/wildcards/cats")
    assert (missing.status_code, missing.json["code"]) == (404, "wildcard_not_found")


def test_lists_are_read_again_when_they_have_changed(wild: Stage, lists: Path) -> None:
    assert wild.get("/v1/wildcards/loop").json["lines"] == 1
    (lists / "loop.txt").write_text("a\nb\n", "utf-8")
    assert wild.get("/v1/wildcards/loop").json["lines"] == 2
    (lists / "new").mkdir()
    (lists / "new/list.txt").write_text("x", "utf-8")
    assert wild.get("/v1/wildcards/new%1Flist").json["lines"] == 1
    (lists / "loop.txt").unlink()
    assert wild.get("/v1/wildcards/loop").status_code == 404


def test_a_link_out_of_the_folders_is_no_list(wild: Stage, lists: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    (lists / "secret.txt").symlink_to(tmp_path / "secret.txt")
    assert wild.get("/v1/wildcards/secret").status_code == 404
    assert wild.post("/v1/jobs", {"engine_id": "e1", "prompt": "__secret__"}).status_code == 404


def test_tokens_are_those_of_the_template_or_of_what_a_seed_makes_of_it(wild: Stage) -> None:
    pytest.importorskip("tokenizers")
    asked = {"prompt": "a __animals/cats__", "negative_prompt": "x"}
    typed = wild.post("/v1/prompts/tokens", asked).json
    assert (typed["prompt"]["is_template"], typed["prompt"]["expanded"]) == (True, None)
    assert not typed["negative_prompt"]["is_template"]
    run = wild.post("/v1/prompts/tokens", asked | {"seed": 7}).json["prompt"]
    assert (
        run["expanded"] == submitted(wild, {"engine_id": "e1", "seed": 7, "prompt": asked["prompt"]}).prompt
    )
    assert run["encoders"][0]["tokens"] < typed["prompt"]["encoders"][0]["tokens"]
    assert not wild.post("/v1/prompts/tokens", asked | {"wildcards": False}).json["prompt"]["is_template"]
