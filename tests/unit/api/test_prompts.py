"""/v1/prompts/tokens: counted for what an engine or a checkpoint is, or not at all, with the reason."""

from typing import Any

import pytest

from kernel.protocol.enums import PromptTechnique
from kernel.protocol.ids import ModelId
from kernel.protocol.specs import EngineSpec
from tests.unit.api.stage import Stage, fields_of

SPEC = EngineSpec(checkpoint=ModelId("m1"), long_prompt_technique=PromptTechnique.NONE)
TYPED = {"is_template": False, "expanded": None}
pytest.importorskip("tokenizers")


def count(stage: Stage, **said: Any) -> dict[str, Any]:
    result = stage.post("/v1/prompts/tokens", said)
    assert result.status_code == 200, result.text
    found: dict[str, Any] = result.json
    return found


def test_a_prompt_is_counted_in_chunks_with_their_places(stage: Stage) -> None:
    found = count(stage, prompt="(red:1.2) ball BREAK sky", negative_prompt="")
    assert (found["long_prompt_technique"], found["chunk_tokens"]) == ("sd_embed", 75)
    chunks = [{"tokens": 2, "begin": 1, "end": 14}, {"tokens": 1, "begin": 21, "end": 24}]
    encoder = {"encoder": "text_encoder", "tokens": 3, "chunks": chunks, "dropped": ""}
    assert found["prompt"] == TYPED | {"encoders": [encoder], "reason": None}
    empty = [{"tokens": 0, "begin": None, "end": None}]
    assert found["negative_prompt"]["encoders"][0]["chunks"] == empty


def test_an_engine_says_how_its_prompts_are_read(stage: Stage) -> None:
    stage.database.add_model("m1", model_base="sdxl")
    stage.database.add_engine("e1", "portraits", engine_spec=SPEC)
    found = count(stage, prompt="a !! (b) " * 30, engine="portraits")
    encoders = found["prompt"]["encoders"]
    assert [one["encoder"] for one in encoders] == ["text_encoder", "text_encoder_2"]
    assert all(one["tokens"] == 75 and one["dropped"].endswith("(b)") for one in encoders)
    assert encoders[0]["dropped"] != encoders[1]["dropped"], "to the second one, each ! is a token of its own"


def test_an_embedding_has_as_many_tokens_as_vectors(stage: Stage) -> None:
    stage.database.add_model("m1", model_base="sd")
    stage.database.add_model("e1", name="dusk", model_type="embedding", parameters=3 * 768)
    stage.database.add_model("e2", name="dawn", model_type="embedding")
    said = {"checkpoint": "m1", "prompt": "a dusk sky"}
    assert count(stage, **said)["prompt"]["encoders"][0]["tokens"] == 3
    assert count(stage, **said, embeddings=["dusk"])["prompt"]["encoders"][0]["tokens"] == 5
    found = count(stage, prompt="a dawn", checkpoint="m1", embeddings=["dawn"])["prompt"]
    assert found == TYPED | {"encoders": None, "reason": "the number of tokens of dawn is not known"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"prompt": "a", "checkpoint": "new"}, "what the checkpoint is is not known yet"),
        ({"prompt": "a", "long_prompt_technique": "compel"}, "compel divides a prompt itself"),
        ({"prompt": "a" * 30_001}, "prompts of more than 30,000 characters are not counted"),
        ({"prompt": "word " * 4_000 + "[a|b]"}, "prompts of more than 30,000 characters are not counted"),
    ],
    ids=["base", "compel", "long", "changing"],
)
def test_what_is_not_counted_has_a_reason(stage: Stage, said: dict[str, Any], reason: str) -> None:
    stage.database.add_model("m1", name="new", model_base=None, status="downloading")
    found = count(stage, **said)["prompt"]
    assert found == TYPED | {"encoders": None, "reason": reason}


def test_what_a_job_would_be_refused_for_is_the_reason(stage: Stage) -> None:
    prompt = "".join(f"[{n}:{n / 100}]" for n in range(1, 90))
    found = count(stage, prompt=prompt, steps=100)["prompt"]
    assert "more than 64 texts" in found["reason"]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [({"engine": "gone"}, 404, "engine_not_found"), ({"checkpoint": "gone"}, 404, "model_not_found")],
)
def test_what_is_not_there_is_not_found(stage: Stage, said: dict[str, str], status: int, code: str) -> None:
    result = stage.post("/v1/prompts/tokens", said)
    assert (result.status_code, result.json["code"]) == (status, code)
    assert fields_of(result).keys() == said.keys()


def test_and_joins_prompts_but_is_text_in_the_negative_one(stage: Stage) -> None:
    found = count(stage, prompt="a AND b", negative_prompt="a AND b")
    tokens = [found[name]["encoders"][0]["tokens"] for name in ("prompt", "negative_prompt")]
    assert tokens == [2, 3]


def test_an_engine_and_a_checkpoint_contradict_each_other(stage: Stage) -> None:
    result = stage.post("/v1/prompts/tokens", {"engine": "a", "checkpoint": "b"})
    assert fields_of(result) == {"checkpoint": "contradicts engine: set one of them"}
