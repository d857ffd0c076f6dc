"""The description comes from the table that serves, and from the types that validate."""

from typing import Any

import pytest

from tests.unit.api.stage import Stage


@pytest.fixture
def document(stage: Stage) -> Any:
    return stage.get("/openapi.json").json


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if "$ref" in node else set()
        return found.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set[str]().union(*(references(value) for value in node))
    return set()


def test_every_reference_leads_somewhere(document: Any) -> None:
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_every_described_route_is_served(stage: Stage, document: Any) -> None:
    for path, operations in document["paths"].items():
        real = path.replace("{", "").replace("}", "")
        for method in operations:
            if (method, path) == ("get", "/v1/events"):
                continue  # it would never end
            assert stage.call(method.upper(), real).status_code != 405, (method, path)


def test_every_operation_has_a_name_of_its_own_and_says_what_it_may_answer(document: Any) -> None:
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert {"400", "403", "422", "503"} <= set(operation["responses"])


def test_an_input_shows_its_words_and_bounds(document: Any) -> None:
    job = document["components"]["schemas"]["JobInput"]
    assert job["additionalProperties"] is False
    (steps,) = [kind for kind in job["properties"]["steps"]["anyOf"] if kind["type"] == "integer"]
    assert (steps["minimum"], steps["maximum"]) == (1, 10_000)
    (scheduler,) = [kind for kind in job["properties"]["scheduler"]["anyOf"] if kind["type"] == "string"]
    assert "euler_a" in scheduler["description"]


def test_no_spelling_that_the_server_takes_is_refused_by_a_list_of_words(document: Any) -> None:
    inputs = [one for name, one in document["components"]["schemas"].items() if name.endswith("Input")]
    assert len(inputs) > 5
    assert not has_key("enum", inputs)
    for operations in document["paths"].values():
        assert not has_key("enum", [operation["parameters"] for operation in operations.values()])


def has_key(key: str, node: Any) -> bool:
    if isinstance(node, dict):
        return key in node or any(has_key(key, value) for value in node.values())
    return isinstance(node, list) and any(has_key(key, value) for value in node)


def test_query_parameters_are_described_one_by_one(document: Any) -> None:
    parameters = {one["name"]: one for one in document["paths"]["/v1/jobs"]["get"]["parameters"]}
    search = {
        "prompt",
        "engine",
        "checkpoint",
        "lora",
        "seed",
        "width",
        "height",
        "created_after",
        "created_before",
    }
    assert set(parameters) == {"limit", "after", "order", "status", "engine_id"} | search
    assert parameters["limit"]["schema"]["maximum"] == 200
    assert parameters["status"]["schema"]["examples"][0] == "waiting"


def test_a_body_that_may_bring_files_is_described_in_both_its_shapes(document: Any) -> None:
    contents = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert list(contents) == ["application/json", "multipart/form-data"]
    job = document["components"]["schemas"]["JobInput"]
    form = contents["multipart/form-data"]["schema"]
    assert set(form["properties"]) == set(job["properties"])
    (blob,) = [kind for kind in job["properties"]["mask_image_blob"]["anyOf"] if kind["type"] == "string"]
    assert blob["contentEncoding"] == "base64"
    assert form["properties"]["mask_image_blob"] == {"contentMediaType": "application/octet-stream"}
