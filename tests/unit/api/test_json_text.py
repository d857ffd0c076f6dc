"""JSON of strangers: what there may be of it, and that refusing it costs and says little.

Where a cost was once the square of the size, these bodies would keep a test busy until its time is over.
"""

import msgspec
import pytest

from api.http.contract.errors import Malformed, TooLarge
from api.http.contract.json_text import LONG_BYTES, MAX_DEPTH, MAX_NAMES, MAX_VALUES, check_shape, strict_json
from api.http.contract.validation_errors import MAX_FAULTS
from kernel.protocol.error_texts import in_words
from tests.unit.api.stage import Stage

JSON = {"Content-Type": "application/json"}


def names(count: int, name: str = "n{}") -> bytes:
    return b"{" + b",".join(b'"%s":1' % name.format(each).encode() for each in range(count)) + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}',
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b'{"prompt":"' + b"," * 3 * MAX_VALUES + b'"}',
        b'{"prompt":"' + b"[(" * MAX_VALUES + rb"\"[\\" + b'"}',
        b'"' + b"[" * MAX_VALUES,
        b'"' + rb"\"" * 200_000 + b"[" * MAX_VALUES,
    ],
    ids=["small", "deep", "commas in a text", "brackets in a text", "no end", "no end and many a quote"],
)
def test_signs_in_a_text_do_not_count(body: bytes) -> None:
    check_shape(body)


@pytest.mark.parametrize(
    "body",
    [b"[" + b"1," * (MAX_VALUES + 1), b'["a,b",' + b"[]," * MAX_VALUES, b'{"a":' + names(MAX_VALUES + 2)],
)
def test_a_body_of_too_many_values_is_too_large(body: bytes) -> None:
    with pytest.raises(TooLarge, match=f"at most {MAX_VALUES} values"):
        check_shape(body)


def test_a_body_that_is_too_deep_is_malformed() -> None:
    with pytest.raises(Malformed, match=f"at most {MAX_DEPTH} levels deep"):
        check_shape(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_an_object_has_a_bounded_number_of_names() -> None:
    strict_json(names(MAX_NAMES))
    with pytest.raises(TooLarge, match=f"at most {MAX_NAMES} names"):
        strict_json(names(MAX_NAMES + 1))


def test_a_name_that_comes_twice_is_shown_in_brief() -> None:
    with pytest.raises(ValueError, match=r"duplicate name 'x{97}\.\.\.'"):
        strict_json(names(2, "x" * 10_000))


def test_the_text_of_a_picture_is_cut_off_and_nothing_else_is() -> None:
    picture = b"data:image/png;base64," + b"A" * 2 * LONG_BYTES
    prompt = "a cat, " * LONG_BYTES
    found = strict_json(b'{"picture":"%s","prompt":"%s"}' % (picture, prompt.encode()))
    assert isinstance(found, dict)
    assert (len(found["picture"]) < LONG_BYTES, found["prompt"]) == (True, prompt)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models", "/v1/engines", "/v1/images/prune"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"a":1' + b',"a":1' * 100_000 + b"}", 413),
        (names(60_000), 413),
        (names(200), 422),
        (names(200, "x" * 4_000 + "{}"), 422),
        (b'{"' + b" - at `$" * 100_000 + b'":1}', 422),
        (b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}", 400),
        (b'{"a":' + b"9" * 1_000_000 + b"}", 400),
        (b'{"a":[' + b"1," * 500_000 + b"1]}", 413),
    ],
    ids=["twins", "many", "some", "long", "a name like a place", "deep", "a number", "a list"],
)
def test_whatever_is_sent_the_refusal_is_small(stage: Stage, path: str, body: bytes, status: int) -> None:
    result = stage.post(path, body=body, headers=JSON)
    assert result.status_code == status
    assert len(result.content) < 16_000
    assert len(result.json["fields"]) <= MAX_FAULTS
    assert stage.bus.asked == []


def test_what_is_not_shown_is_counted(stage: Stage) -> None:
    result = stage.post("/v1/jobs", body=names(200), headers=JSON)
    assert (len(result.json["fields"]), "; and 190 more" in result.json["detail"]) == (MAX_FAULTS, True)


def test_a_query_of_many_names_gets_a_small_refusal(stage: Stage) -> None:
    query = "&".join(f"n{each}=1" for each in range(9_000))
    result = stage.get("/v1/jobs", query_string=query)
    assert (result.status_code, len(result.json["fields"])) == (422, MAX_FAULTS)
    assert len(result.content) < 16_000


def test_a_long_path_is_not_sent_back_whole(stage: Stage) -> None:
    result = stage.get("/v2/" + "x" * 50_000)
    assert (result.status_code, len(result.content) < 8_000) == (404, True)


def test_a_name_in_a_sentence_of_the_decoder_is_cut() -> None:
    told = f"Object contains unknown field `{' - at `$' * 200_000}` - at `$.loras[0]`"
    path, problem = in_words(told)
    assert len(path) + len(problem) < 1_000


def test_an_unknown_name_of_an_object_inside_is_told_in_brief(stage: Stage) -> None:
    body = msgspec.json.encode({"engine_id": "e1", "loras": [{"model_id": "l", "x" * 100_000: 1}]})
    result = stage.post("/v1/jobs", body=body, headers=JSON)
    assert (result.status_code, len(result.content) < 8_000) == (422, True)
