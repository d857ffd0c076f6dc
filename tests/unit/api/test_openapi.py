"""The description comes from the table that serves, and from the types that validate."""

import re
from typing import Any

import pytest

from api.http.contract import errors as http_errors
from api.http.contract.problems import status_of
from api.http.framework.route import EventStream
from api.http.resources.events import EVENTS
from api.http.resources.job_events import JOB_EVENTS
from kernel.protocol.refusals import all_errors
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


OPENAIS = {"generate_images", "edit_images", "vary_images"}
"""Routes whose clients know 400 only."""


def operations_of(document: Any) -> list[Any]:
    return [one for path in document["paths"].values() for one in path.values()]


def test_every_operation_has_a_name_of_its_own_and_says_what_it_may_answer(document: Any) -> None:
    operations = operations_of(document)
    assert len({one["operationId"] for one in operations}) == len(operations)
    for operation in operations:
        assert re.fullmatch("[a-z]+(_[a-z]+)*", operation["operationId"])
        assert operation["summary"]
        wrong = set() if operation["operationId"] in OPENAIS else {"422"}
        assert {"400", "403", "503", *wrong} <= set(operation["responses"])


def test_every_refusal_lists_its_codes_for_programs_too(document: Any) -> None:
    known = {code: str(status_of(error)) for code, error in all_errors(http_errors.__name__).items()}
    for operation in operations_of(document):
        for status, answer in operation["responses"].items():
            if answer.get("content", {}).keys() == {"application/problem+json"}:
                assert answer["description"] == f"code: {', '.join(answer['x-codes'])}"
                assert {known[code] for code in answer["x-codes"]} == {status}


def test_every_answer_with_a_body_has_a_schema(document: Any) -> None:
    for operation in operations_of(document):
        for answer in operation["responses"].values():
            assert all(content["schema"] for content in answer.get("content", {}).values())


def test_images_are_files_of_the_types_that_there_are(document: Any) -> None:
    answer = document["paths"]["/v1/images/{image_id}/download"]["get"]["responses"]["200"]
    assert set(answer["content"]) == {"image/png", "image/jpeg", "image/webp"}
    for content in answer["content"].values():
        assert content["schema"] == {"type": "string", "format": "binary"}


@pytest.mark.parametrize(
    ("path", "stream"), [("/v1/jobs/{job_id}/events", JOB_EVENTS), ("/v1/events", EVENTS)], ids=["job", "all"]
)
def test_a_stream_describes_the_data_of_each_of_its_events(
    document: Any, path: str, stream: EventStream
) -> None:
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    assert content == {"text/event-stream": {"schema": {"$ref": f"#/components/schemas/{stream.name}"}}}
    schema = document["components"]["schemas"][stream.name]
    for event, kind in stream.data.items():
        assert re.search(rf"\b{event}\b", schema["description"])
        assert {"$ref": f"#/components/schemas/{kind.__name__}"} in schema["anyOf"]


def test_every_object_has_a_name_and_no_other_has_it(document: Any) -> None:
    """Generators make up a name of an object that has none, and refuse two of one name."""
    assert not has_key("properties", document["paths"])
    schemas = document["components"]["schemas"]
    assert [schema["title"] for schema in schemas.values()] == list(schemas)
    for schema in schemas.values():
        assert not has_key("properties", list(schema.get("properties", {}).values()))


def test_schemas_use_nothing_that_generators_read_in_their_own_ways(document: Any) -> None:
    """A default makes a field mandatory in some; a list of a fixed length breaks others."""
    assert not has_key("default", list(document["components"]["schemas"].values()))
    assert not has_key("prefixItems", document)


def test_what_is_sent_is_always_there_and_what_is_asked_for_may_be_left_out(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Job"]["required"]) == set(schemas["Job"]["properties"])
    assert set(schemas["Problem"]["properties"]) - set(schemas["Problem"]["required"]) == {"error", "memory"}
    assert "required" not in schemas["JobInput"] or schemas["JobInput"]["required"] == []
    assert schemas["JobInput"]["properties"]["quality"]["description"] == "Default: 90."
    assert schemas["LoraInput"]["required"] == ["model_id"]


def test_an_input_shows_its_words_and_bounds(document: Any) -> None:
    job = document["components"]["schemas"]["JobInput"]
    assert job["additionalProperties"] is False
    (steps,) = [kind for kind in job["properties"]["steps"]["anyOf"] if kind["type"] == "integer"]
    assert (steps["minimum"], steps["maximum"]) == (1, 10_000)
    (scheduler,) = [kind for kind in job["properties"]["scheduler"]["anyOf"] if kind["type"] == "string"]
    assert "euler_a" in scheduler["description"]


def test_no_spelling_that_the_server_takes_is_refused_by_a_list_of_words(document: Any) -> None:
    schemas = document["components"]["schemas"]
    inputs = [one for name, one in schemas.items() if name.endswith(("Input", "Form", "Edit"))]
    assert len(inputs) > 5
    words = {f"#/components/schemas/{name}" for name, schema in schemas.items() if "enum" in schema}
    assert not has_key("enum", inputs)
    assert not references(inputs) & words
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
    assert set(parameters) == {"limit", "after", "order", "status", "engine_id", "key"} | search
    assert parameters["limit"]["schema"]["maximum"] == 200
    assert parameters["status"]["schema"]["examples"][0] == "waiting"


def test_a_body_that_may_bring_files_is_described_in_both_its_shapes(document: Any) -> None:
    contents = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert list(contents) == ["application/json", "multipart/form-data"]
    job = document["components"]["schemas"]["JobInput"]
    assert contents["multipart/form-data"]["schema"] == {"$ref": "#/components/schemas/JobForm"}
    form = document["components"]["schemas"]["JobForm"]
    assert set(form["properties"]) == set(job["properties"])
    (blob,) = [kind for kind in job["properties"]["mask_image_blob"]["anyOf"] if kind["type"] == "string"]
    assert blob["contentEncoding"] == "base64"
    assert form["properties"]["mask_image_blob"] == {"type": "string", "format": "binary"}
