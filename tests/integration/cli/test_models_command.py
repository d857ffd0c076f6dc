"""`spoon models` against a server."""

import json
from pathlib import Path

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, Asked, FakeApi, problem

FOX = {"model_id": "m1", "name": "fox", "status": "ready", "model_type": "checkpoint", "model_base": "sd",
       "size_bytes": 4_300_000_000, "tags": [], "error": None,
       "path": "file:///w/a%20fox.safetensors"}  # fmt: skip
OWL = {"model_id": "m2", "name": "owl", "status": "downloading", "model_type": "lora"}
BAD = {"model_id": "m4", "name": "old", "status": "error", "model_type": "vae", "path": "file:///w/old.ckpt",
       "error": {"code": "bad", "detail": "file:///w/old.ckpt is a pickle" + "!" * 99}}  # fmt: skip


def test_the_list_is_a_table(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models", Answer(body={"items": [FOX, OWL, BAD], "next": None}))
    ended = spoon("models", "list")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "ID  NAME  STATUS       TYPE        BASE  SIZE    FILE               ERROR",
        "m1  fox   ready        checkpoint  sd    4.3 GB  a fox.safetensors  -",
        "m2  owl   downloading  lora        -     -       -                  -",
        f"m4  old   error        vae         -     -       old.ckpt           is a pickle{'!' * 86}...",
    ]


def test_the_list_goes_on_to_the_next_page_up_to_its_limit(spoon: Spoon, api: FakeApi) -> None:
    def page(asked: Asked) -> Answer:
        is_first = "after" not in asked.query
        return Answer(body={"items": [FOX] if is_first else [OWL], "next": "c" if is_first else None})

    api.on("GET", "/v1/models", page)
    ended = spoon("models", "list", "--all", "--json", "--tag", "warm")
    assert json.loads(ended.out) == [FOX, OWL]
    assert [one.query for one in api.asked] == [
        {"tag": "warm", "limit": "200"},
        {"tag": "warm", "limit": "200", "after": "c"},
    ]
    assert json.loads(spoon("models", "list", "--limit", "1", "--json").out) == [FOX]


def test_warnings_of_a_model_are_told_when_it_is_added(spoon: Spoon, api: FakeApi) -> None:
    warned = {**FOX, "warnings": ["it has no VAE of its own", "red \x1b[31m"]}
    api.on("POST", "/v1/models", Answer(201, body=warned))
    ended = spoon("models", "add", "https://example.org/fox.safetensors", "--type", "checkpoint")
    assert ended.out == "m1  fox: ready\n"
    first, second = ended.err.splitlines()
    assert first == "warning: it has no VAE of its own"
    assert second.startswith("warning: red")
    assert "\x1b" not in second


def test_a_model_is_shown_by_its_id(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/m1", Answer(body=FOX))
    ended = spoon("models", "show", "m1")
    assert "name        fox\n" in ended.out
    assert "error" not in ended.out
    assert json.loads(spoon("models", "show", "m1", "--json").out) == FOX


def test_a_model_is_found_by_its_name(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/fox", Answer(body=FOX))
    api.on("GET", "/v1/models/m1", Answer(body=FOX))
    assert json.loads(spoon("models", "show", "fox", "--json").out)["model_id"] == "m1"


def test_a_name_that_several_models_have_is_refused_in_the_servers_words(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/fox", problem(409, "name_ambiguous", "use one of the ids m1 or m3"))
    ended = spoon("models", "show", "fox")
    assert (ended.code, ended.err) == (4, "spoon: use one of the ids m1 or m3 [name_ambiguous]\n")


def test_a_name_with_a_slash_is_one_segment_of_the_path(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/hf%2Ffox", Answer(body=FOX))
    api.on("GET", "/v1/models/m1", Answer(body=FOX))
    assert spoon("models", "show", "hf/fox").code == 0


def test_models_for_an_engine_are_those_that_fit_it(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/engines/portraits", Answer(body={"engine_id": "e1", "status": "ready"}))
    api.on("GET", "/v1/engines/e1/models", Answer(body={"items": [OWL], "next": None}))
    ended = spoon("models", "list", "--for", "portraits", "--type", "lora")
    assert ended.out.splitlines()[1].startswith("m2")
    assert api.asked[-1].query == {"type": "lora", "limit": "50"}
    assert spoon("models", "list", "--for", "portraits", "--tag", "animals").code == 2


def test_a_model_that_is_not_there_is_named(spoon: Spoon, api: FakeApi) -> None:
    ended = spoon("models", "show", "hf/none")
    assert (ended.code, ended.out) == (3, "")
    assert "no model with id or name hf/none" in ended.err


def test_a_model_on_civitai_is_sent_as_it_is_written_and_an_air_says_its_type(
    spoon: Spoon, api: FakeApi
) -> None:
    api.on("POST", "/v1/models", Answer(202, OWL))
    air = "urn:air:sdxl:lora:civitai:12345@67890"
    page = "https://civitai.com/models/12345/furry-friends?modelVersionId=67890"
    assert spoon("models", "add", air).code == 0
    assert spoon("models", "add", page, "--type", "lora", "--name", "fur").code == 0
    assert [one.body for one in api.asked] == [
        {"name": "civitai-12345-67890", "path": air, "model_type": "lora"},
        {"name": "fur", "path": page, "model_type": "lora"},
    ]
    ended = spoon("models", "add", "civitai:12345")
    assert ended.code == 2
    assert "Missing option '--type'. It is one of checkpoint, lora" in ended.err


def test_a_local_file_becomes_an_absolute_encoded_address(
    spoon: Spoon, api: FakeApi, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a fox #1 ü.safetensors").touch()
    api.on("POST", "/v1/models", Answer(202, FOX | {"status": "downloading"}))
    ended = spoon("models", "add", "./a fox #1 ü.safetensors", "--type", "checkpoint", "--tag", "red")
    assert ended.code == 0
    assert ended.out == "m1  fox: downloading\n"
    assert api.asked[0].body == {
        "name": "a fox #1 ü",
        "path": tmp_path.as_uri() + "/a%20fox%20%231%20%C3%BC.safetensors",
        "model_type": "checkpoint",
        "tags": ["red"],
    }


def test_a_folder_is_called_by_its_name(spoon: Spoon, api: FakeApi, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "dreams-1.5").mkdir()
    monkeypatch.chdir(tmp_path / "dreams-1.5")
    api.on("POST", "/v1/models", Answer(202, FOX))
    spoon("models", "add", ".", "--type", "checkpoint", "--name", "d")
    spoon("models", "add", ".", "--type", "checkpoint")
    assert [one.body["name"] for one in api.asked] == ["d", "dreams-1.5"]
    assert {one.body["path"] for one in api.asked} == {(tmp_path / "dreams-1.5").as_uri()}


def test_a_repository_goes_by_its_name_alone(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models", Answer(202, FOX))
    spoon("models", "add", "owner/dreams", "--type", "lora")
    spoon("models", "add", "https://example.org/style.safetensors", "--type", "lora")
    assert api.asked[0].body == {"name": "owner/dreams", "model_type": "lora"}
    assert api.asked[1].body == {
        "name": "style", "path": "https://example.org/style.safetensors", "model_type": "lora"
    }  # fmt: skip


def test_a_file_that_is_not_there_is_a_mistake_of_usage(spoon: Spoon, api: FakeApi) -> None:
    ended = spoon("models", "add", "./absent.safetensors", "--type", "checkpoint")
    assert ended.code == 2
    assert "no such file or folder: ./absent.safetensors" in ended.err
    assert api.asked == []


def test_adding_can_wait_until_the_model_is_ready(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models", Answer(202, FOX | {"status": "downloading"}))
    api.on("GET", "/v1/models/m1", Answer(body=FOX | {"status": "downloading"}), Answer(body=FOX))
    assert spoon("models", "add", "file:///fox", "--type", "checkpoint", "--wait").out == "m1  fox: ready\n"


def test_waiting_for_a_model_that_cannot_be_used_says_why(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models", Answer(202, FOX | {"status": "downloading"}))
    api.on(
        "GET",
        "/v1/models/m1",
        Answer(
            body=FOX | {"status": "error", "error": {"code": "model_unreadable", "detail": "it is a pickle"}}
        ),
    )
    ended = spoon("models", "add", "file:///fox", "--type", "checkpoint", "--wait")
    assert (ended.code, ended.err) == (
        6,
        "spoon: model fox cannot be used: it is a pickle (model_unreadable) [failed]\n",
    )


def test_a_file_outside_the_allowed_folders_is_told_with_the_folder_to_allow(
    spoon: Spoon, api: FakeApi
) -> None:
    detail = "file:///w/a%20b/fox names no file inside the folders that models may lie in (models.file_roots)"
    api.on("POST", "/v1/models", Answer(202, FOX | {"status": "downloading"}))
    failed = FOX | {"status": "error", "error": {"code": "model_unreadable", "detail": detail}}
    api.on("GET", "/v1/models/m1", Answer(body=failed))
    ended = spoon("models", "add", "file:///w/a%20b/fox", "--type", "checkpoint", "--wait")
    assert ended.code == 6
    assert ended.err.endswith(
        "; either add it with --upload, or add '/w/a b' to models.file_roots (or set "
        "SPOON_MODELS_FILE_ROOTS='/w/a b'), restart the server, and run `spoon models retry` [failed]\n"
    )


def test_an_empty_name_is_not_replaced_but_left_to_the_server_to_refuse(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models", problem(422, "invalid_field", "wrong fields", ("name", "must not be blank")))
    ended = spoon("models", "add", "file:///fox", "--type", "checkpoint", "--name", "")
    assert ended.code == 7
    assert api.asked[0].body == {"name": "", "path": "file:///fox", "model_type": "checkpoint"}


def test_an_address_without_a_scheme_is_told_how_to_write_it(here: Spoon) -> None:
    ended = here("--url", "localhost:7811", "models", "list")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == (
        "spoon: localhost:7811 is not a URL; use http://localhost:7811 [server_unreachable]\n"
    )


def test_a_wrong_field_is_named_on_stderr(spoon: Spoon, api: FakeApi) -> None:
    refusal = problem(422, "invalid_field", "the request has wrong fields", ("sha256", "must have 64 digits"))
    api.on("POST", "/v1/models", refusal)
    ended = spoon("models", "add", "file:///fox", "--type", "checkpoint", "--sha256", "1")
    assert ended.code == 7
    assert ended.err == (
        "spoon: the request has wrong fields [invalid_field]\n  sha256: must have 64 digits\n"
    )


def test_a_model_in_use_cannot_be_deleted(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/m1", Answer(body=FOX))
    api.on(
        "DELETE", "/v1/models/m1", problem(409, "model_in_use", "the model is used by engine e1"), Answer(204)
    )
    ended = spoon("models", "delete", "m1")
    assert (ended.code, ended.err) == (4, "spoon: the model is used by engine e1 [model_in_use]\n")
    assert spoon("models", "delete", "m1", "--files").out == "deleted fox\n"
    assert api.asked[-1].query == {"files": "true"}


def test_a_model_is_tried_again(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/m1", Answer(body=FOX))
    api.on("POST", "/v1/models/m1/retry", Answer(202, OWL | {"model_id": "m1"}))
    assert spoon("models", "retry", "m1").out == "m1  owl: downloading\n"


def test_a_server_that_is_not_there_is_said_to_be_so(here: Spoon) -> None:
    ended = here("models", "list")
    assert ended.code == 5
    assert ended.err.startswith("spoon: cannot reach the server at http://127.0.0.1:1 (")
    assert ended.err.endswith("start it with `spoon serve` [server_unreachable]\n")


def test_an_answer_that_is_no_problem_document_is_still_an_error(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models", Answer(502, raw=b"<html>", mime="text/html"))
    ended = spoon("models", "list")
    assert (ended.code, ended.err) == (1, "spoon: the server returned 502 Bad Gateway [http_502]\n")


def test_an_answer_of_another_kind_of_server_is_told(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models", Answer(raw=b"<html>", mime="text/html"))
    ended = spoon("models", "list")
    assert ended.code == 1
    assert "unexpected response from the server" in ended.err


def test_an_address_is_called_by_its_last_part_without_what_may_be_a_secret(
    spoon: Spoon, api: FakeApi
) -> None:
    api.on("POST", "/v1/models", Answer(202, FOX))
    for source in (
        "https://example.org/a%20style.safetensors?token=secret",
        "hf://owner/dreams@v1/style.safetensors",
    ):
        spoon("models", "add", source, "--type", "lora")
    assert [one.body["name"] for one in api.asked] == ["a style", "style"]


def test_waiting_shows_how_far_the_download_is(spoon: Spoon, api: FakeApi) -> None:
    coming = FOX | {"status": "downloading"}
    half = {"bytes": 2_150_000_000, "total_bytes": 4_300_000_000, "bytes_per_s": 10_000_000}
    api.on("POST", "/v1/models", Answer(202, coming))
    api.on("GET", "/v1/models/m1", Answer(body=coming | {"progress": half}), Answer(body=FOX))
    ended = spoon("models", "add", "https://example.org/fox", "--type", "checkpoint", "--wait")
    assert (ended.code, ended.out) == (0, "m1  fox: ready\n")
    assert ended.err == "fetching 2.1 GB of 4.3 GB, 10.0 MB/s, 3 min 35 s left\n"


def test_a_retry_can_wait(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/models/m1", Answer(body=FOX))
    api.on("POST", "/v1/models/m1/retry", Answer(202, OWL | {"model_id": "m1"}))
    assert spoon("models", "retry", "m1", "--wait").out == "m1  fox: ready\n"


def test_a_file_of_this_machine_is_sent(spoon: Spoon, api: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "a fox.safetensors"
    file.write_bytes(b"the model" * 1000)
    api.on("POST", "/v1/models/upload", Answer(202, FOX | {"status": "downloading"}))
    ended = spoon("models", "add", str(file), "--type", "lora", "--tag", "red", "--tag", "old", "--upload")
    assert (ended.code, ended.out) == (0, "m1  fox: downloading\n")
    assert ended.err.startswith("uploading 9.0 kB of 9.0 kB")
    (asked,) = api.asked
    body = asked.body
    assert isinstance(body, bytes)
    assert asked.headers["content-length"] == str(len(body))
    assert b'name="file"; filename="a fox.safetensors"' in body
    assert file.read_bytes() in body
    assert body.count(b'name="tags"') == 2


def test_a_folder_cannot_be_sent(spoon: Spoon, api: FakeApi, tmp_path: Path) -> None:
    ended = spoon("models", "add", str(tmp_path), "--type", "lora", "--upload")
    assert ended.code == 2
    assert "is a folder; only a file can be uploaded" in ended.err
    assert api.asked == []


def pruned(models: int, *, dry_run: bool) -> Answer:
    return Answer(body={"models": models, "size_bytes": 4_300_000_000, "dry_run": dry_run})


def test_what_pruning_would_remove_is_said_without_removing_it(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models/prune", pruned(2, dry_run=True))
    ended = spoon("models", "prune", "--dry-run")
    assert ended.out == "would remove the files of 2 deleted models (4.3 GB)\n"
    assert [one.body for one in api.asked] == [{"dry_run": True}]


def test_pruning_asks_first_and_then_removes(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models/prune", pruned(1, dry_run=False))
    assert spoon("models", "prune", "--yes").out == "removed the files of 1 deleted model (4.3 GB)\n"
    assert [one.body for one in api.asked] == [{"dry_run": True}, {}]
    assert spoon("models", "prune").code != 0, "without --yes and without an answer nothing is removed"
    assert len(api.asked) == 3


def test_how_a_background_remover_wants_its_pictures_is_sent(spoon: Spoon, api: FakeApi) -> None:
    api.on("POST", "/v1/models", Answer(202, FOX | {"status": "downloading"}))
    said = ("--input-size", "640,480", "--mean", "0.5, 0.4,0.3", "--std", "1,1,1")
    assert spoon("models", "add", "file:///cutter.onnx", "--type", "background", *said).code == 0
    body = api.asked[0].body
    assert isinstance(body, dict)
    assert (body["input_size"], body["mean"], body["std"]) == ([640, 480], [0.5, 0.4, 0.3], [1.0, 1.0, 1.0])
    assert spoon("models", "add", "file:///a.onnx", "--type", "background", "--mean", "grey").code == 2


def test_a_deleted_model_that_leaves_something_behind_says_so(spoon: Spoon, api: FakeApi) -> None:
    api.on("DELETE", "/v1/models/m1", Answer(204))
    for path, is_told in (("https://a.org/fox", True), ("file:///w/fox", False)):
        api.on("GET", "/v1/models/m1", Answer(body=FOX | {"path": path}))
        assert ("until `spoon models prune`" in spoon("models", "delete", "m1").err) is is_told
