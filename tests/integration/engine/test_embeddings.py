"""Textual inversion: words that a job brings along, and nothing of them that stays behind."""

from pathlib import Path

import msgspec
import pytest
import torch
from lora_files import lora_source
from prompting import (
    CallCounter,
    alone,
    embedding_source,
    encoded_prompts,
    encoders,
    prompt_order,
    random_vectors,
    widths,
    write_embedding,
)
from safetensors.torch import save_file
from torch import Tensor

from bench.stock import Stock
from engine_worker.engine.adapters.lora_manager import LoraManager
from engine_worker.engine.networks.components import Components
from engine_worker.engine.prompts.prompt_encoder import PromptEncoder
from engine_worker.formats.adapters import describe_embedding
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.embedding_keys import PAIR
from engine_worker.formats.safetensors_header import read_header
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import ModelBase, PromptTechnique
from kernel.protocol.errors import JobRejected, ModelUnreadable
from kernel.protocol.model_refs import LoraUse, ModelSource

pytestmark = pytest.mark.torch

WEIGHTED = {
    PromptTechnique.NONE: "a {}",
    PromptTechnique.SD_EMBED: "a ({}:1.5)",
    PromptTechnique.COMPEL: "a ({})1.5",
}
TECHNIQUES = pytest.mark.parametrize("technique", list(PromptTechnique), ids=str)


@pytest.fixture
def dusk(parts: Components, tmp_path: Path) -> ModelSource:
    """An embedding of two vectors."""
    return embedding_source("Dusk", write_embedding(tmp_path / "dusk.safetensors", random_vectors(parts)))


def test_a_word_of_several_vectors_is_what_the_stock_pipeline_makes_of_it(
    parts: Components, dusk: ModelSource, checkpoints: Path
) -> None:
    pipeline = Stock(checkpoints / str(parts.base), parts.base)
    inner = pipeline.pipeline
    pairs = [(inner.tokenizer, inner.text_encoder)]
    if parts.base is ModelBase.SDXL:
        pairs.append((inner.tokenizer_2, inner.text_encoder_2))
    for (tokenizer, encoder), vectors in zip(pairs, random_vectors(parts), strict=True):
        inner.load_textual_inversion(
            {"<dusk>": vectors}, token="<dusk>", tokenizer=tokenizer, text_encoder=encoder
        )
    embeds, pooled = pipeline.encode("a ball, <dusk> and more", "blue")
    made = encoded_prompts(parts, "a ball, dusk and more", "blue", embeddings=(dusk,)).conditioning
    assert torch.equal(made.embeds, embeds)
    assert pooled is None or (made.pooled is not None and torch.equal(made.pooled, pooled))


@TECHNIQUES
def test_the_vectors_of_a_token_of_the_vocabulary_make_what_that_token_makes(
    technique: PromptTechnique, parts: Components, tmp_path: Path
) -> None:
    red_ball = [736, 1069]
    vectors = [encoder.get_input_embeddings().weight[red_ball].detach() for encoder in encoders(parts)]
    source = embedding_source("dusk", write_embedding(tmp_path / "a.safetensors", vectors))
    made = encoded_prompts(
        parts, "a dusk here", "dusk", technique=technique, embeddings=(source,)
    ).conditioning
    expected = encoded_prompts(parts, "a red ball here", "red ball", technique=technique).conditioning
    assert torch.equal(made.embeds, expected.embeds)
    assert made.pooled is None or torch.equal(made.pooled, expected.pooled)


@TECHNIQUES
def test_after_a_job_with_embeddings_the_encoders_are_bit_equal_and_the_word_is_plain_text_again(
    technique: PromptTechnique, parts: Components, dusk: ModelSource
) -> None:
    def state() -> list[Tensor]:
        return [held.clone() for encoder in encoders(parts) for held in encoder.state_dict().values()]

    prompt_encoder = PromptEncoder(parts)
    without = prompt_order("a dusk", technique=technique)
    before, plain = state(), prompt_encoder.condition(without).conditioning.embeds
    made = prompt_encoder.condition(prompt_order("a dusk", technique=technique, embeddings=(dusk,)))
    assert not torch.equal(made.conditioning.embeds[1], plain[1])
    assert all(torch.equal(was, now) for was, now in zip(before, state(), strict=True))
    assert torch.equal(PromptEncoder(parts).condition(without).conditioning.embeds, plain)
    assert not any(encoder.get_input_embeddings()._forward_hooks for encoder in encoders(parts))


def test_a_job_s_word_means_nothing_to_the_next_job_with_another_set(
    parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    other = random_vectors(parts, count=1, seed=2)
    dawn = embedding_source("dawn", write_embedding(tmp_path / "dawn.safetensors", other))
    prompt_encoder = PromptEncoder(parts)

    def embeds(*embeddings: ModelSource) -> Tensor:
        order = prompt_order("a dusk or dawn", guidance_scale=1.0, embeddings=embeddings)
        return prompt_encoder.condition(order).conditioning.embeds

    sets = [embeds(), embeds(dusk), embeds(dawn), embeds(dusk, dawn)]
    assert all(
        not torch.equal(one, another) for number, one in enumerate(sets) for another in sets[number + 1 :]
    )
    assert torch.equal(embeds(dawn, dusk), sets[3])
    assert torch.equal(alone(parts, "a dusk or dawn"), sets[0][0])


@pytest.mark.parametrize("written", ["a Dusk,", "a DUSK,", "a <gloom>,", "a <GLOOM>,"])
def test_name_and_trigger_word_both_call_it_in_capitals_or_not(
    written: str, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    source = embedding_source("dusk", Path(dusk.uri.removeprefix("file://")), "<gloom>", "unused")
    expected = alone(parts, "a dusk,", embeddings=(dusk,))
    assert torch.equal(alone(parts, written, embeddings=(source,)), expected)


@pytest.mark.parametrize("written", ["a duskless ball", "a predusk ball", "dus k"])
def test_a_part_of_a_longer_word_is_plain_text(written: str, parts: Components, dusk: ModelSource) -> None:
    assert torch.equal(alone(parts, written, embeddings=(dusk,)), alone(parts, written))


def test_a_name_of_nothing_but_spaces_calls_nobody(parts: Components, dusk: ModelSource) -> None:
    source = embedding_source(" ", Path(dusk.uri.removeprefix("file://")), "dusk")
    made = alone(parts, "a  dusk , b", embeddings=(source,))
    assert torch.equal(made, alone(parts, "a  dusk , b", embeddings=(dusk,)))


def test_the_longest_name_that_fits_is_meant(parts: Components, dusk: ModelSource, tmp_path: Path) -> None:
    path = write_embedding(tmp_path / "b.safetensors", random_vectors(parts, 1, seed=3))
    longer, alias = embedding_source("dusk-5", path), embedding_source("other", path)
    made = alone(parts, "a dusk-5", embeddings=(dusk, longer))
    assert torch.equal(made, alone(parts, "a other", embeddings=(alias,)))


@pytest.mark.parametrize("name", ["<dusk>", "bad-hands-5", "v1.5-neg", "by bad artist", "my_word", "Größe"])
def test_signs_and_spaces_in_a_name_are_no_obstacle(
    name: str, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    source = embedding_source(name, Path(dusk.uri.removeprefix("file://")))
    expected = {
        technique: alone(parts, written.format("dusk"), technique=technique, embeddings=(dusk,))
        for technique, written in WEIGHTED.items()
    }
    for technique, written in WEIGHTED.items():
        made = alone(parts, written.format(name), technique=technique, embeddings=(source,))
        assert torch.equal(made, expected[technique]), technique


@TECHNIQUES
def test_words_can_be_weighted(technique: PromptTechnique, parts: Components, dusk: ModelSource) -> None:
    made = alone(parts, WEIGHTED[technique].format("dusk"), technique=technique, embeddings=(dusk,))
    plain = alone(parts, "a dusk", embeddings=(dusk,))
    assert torch.equal(made[:2], plain[:2])
    assert torch.equal(made[2:4], plain[2:4]) is (technique is PromptTechnique.NONE)
    assert torch.equal(made[4:], plain[4:])


@pytest.mark.parametrize("technique", [PromptTechnique.SD_EMBED, PromptTechnique.COMPEL], ids=str)
def test_a_words_vectors_stay_together_at_the_end_of_a_chunk(
    technique: PromptTechnique, parts: Components, dusk: ModelSource
) -> None:
    made = alone(parts, "a " * 74 + "dusk", technique=technique, embeddings=(dusk,))
    first, second = alone(parts, "a " * 74), alone(parts, "dusk", embeddings=(dusk,))
    torch.testing.assert_close(made, torch.cat([first, second]), rtol=0, atol=1e-5)


def test_a_word_of_more_vectors_than_a_chunk_has_tokens_goes_on_in_the_next(
    parts: Components, tmp_path: Path
) -> None:
    source = embedding_source("big", write_embedding(tmp_path / "big.safetensors", random_vectors(parts, 80)))
    made = alone(parts, "a big", technique=PromptTechnique.SD_EMBED, embeddings=(source,))
    assert made.shape[0] == 3 * 77


def test_a_word_that_is_cut_off_is_named_in_the_warning(parts: Components, dusk: ModelSource) -> None:
    (warning,) = encoded_prompts(parts, "a " * 75 + "dusk ball", embeddings=(dusk,)).warnings
    assert "'Dusk ball'" in warning


def test_whatever_the_only_tensor_is_called_it_is_the_embedding(
    base: ModelBase, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    if base is ModelBase.SDXL:
        pytest.skip("an embedding for SDXL has two tensors, with fixed names")
    path = write_embedding(tmp_path / "c.safetensors", random_vectors(parts), key="<dusk>")
    expected = alone(parts, "dusk", embeddings=(dusk,))
    assert torch.equal(alone(parts, "dusk", embeddings=(embedding_source("dusk", path),)), expected)


def test_one_vector_without_a_row_of_its_own_is_an_embedding_too(parts: Components, tmp_path: Path) -> None:
    vectors = random_vectors(parts, 1)
    flat = write_embedding(tmp_path / "flat.safetensors", [held[0] for held in vectors])
    rows = write_embedding(tmp_path / "rows.safetensors", vectors)
    made = [alone(parts, "dusk", embeddings=(embedding_source("dusk", path),)) for path in (flat, rows)]
    assert torch.equal(*made)


def test_an_embedding_for_the_other_base_is_refused_in_words(
    base: ModelBase, parts: Components, tmp_path: Path
) -> None:
    keys = [torch.zeros(1, 96), torch.zeros(1, 128)] if base is ModelBase.SD else [torch.zeros(1, 96)]
    source = embedding_source("Dusk", write_embedding(tmp_path / "other.safetensors", keys))
    with pytest.raises(JobRejected, match=f"Dusk is not an embedding for {base}"):
        alone(parts, "dusk", embeddings=(source,))


def test_vectors_of_the_wrong_width_are_refused_with_both_widths(parts: Components, tmp_path: Path) -> None:
    wide = [torch.zeros(1, width + 8) for width in widths(parts)]
    source = embedding_source("Dusk", write_embedding(tmp_path / "wide.safetensors", wide))
    with pytest.raises(JobRejected, match="its vectors have 104 values instead of 96"):
        alone(parts, "dusk", embeddings=(source,))


def test_a_file_that_is_gone_or_damaged_fails_the_job_with_the_reason(
    parts: Components, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnreadable):
        alone(parts, "dusk", embeddings=(embedding_source("dusk", tmp_path / "gone.safetensors"),))
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelUnreadable):
        alone(parts, "dusk", embeddings=(embedding_source("dusk", tmp_path / "damaged.safetensors"),))


def test_a_file_that_would_fill_the_memory_is_refused_unread(parts: Components, tmp_path: Path) -> None:
    header = b'{"emb_params":{"dtype":"F32","shape":[1,20000000],"data_offsets":[0,80000000]}}'
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 80_000_000)
    with pytest.raises(ModelUnreadable, match="have 20000000 values"):
        alone(parts, "dusk", embeddings=(embedding_source("dusk", path),))


def test_another_kind_of_model_is_refused_as_what_it_is(
    base: ModelBase, parts: Components, checkpoints: Path
) -> None:
    source = embedding_source("sd", checkpoints / f"{base}.safetensors")
    with pytest.raises(JobRejected, match="is a checkpoint, not an embedding"):
        alone(parts, "dusk", embeddings=(source,))


def test_two_embeddings_that_are_called_by_the_same_word_are_refused(
    parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    other = write_embedding(tmp_path / "other.safetensors", random_vectors(parts, seed=2))
    with pytest.raises(JobRejected, match="the trigger word 'DUSK'"):
        alone(parts, "dusk", embeddings=(embedding_source("x", other, "DUSK"), dusk))


def test_a_name_that_several_have_calls_none_of_them(parts: Components, tmp_path: Path) -> None:
    sources = [
        embedding_source(
            "learned_embeds",
            write_embedding(tmp_path / f"{word}.safetensors", random_vectors(parts, seed=seed)),
            word,
        )
        for seed, word in enumerate(["dusk", "dawn"])
    ]
    both = (sources[0], sources[1])
    assert torch.equal(alone(parts, "learned_embeds", embeddings=both), alone(parts, "learned_embeds"))
    assert not torch.equal(alone(parts, "dawn", embeddings=both), alone(parts, "dawn"))


def test_the_same_embedding_twice_is_once(parts: Components, dusk: ModelSource) -> None:
    assert torch.equal(
        alone(parts, "dusk", embeddings=(dusk, dusk)), alone(parts, "dusk", embeddings=(dusk,))
    )


def test_prompts_are_remembered_by_their_embeddings_too(parts: Components, dusk: ModelSource) -> None:
    prompt_encoder = PromptEncoder(parts)
    with CallCounter(parts) as counter:
        for embeddings in ((), (dusk,), (), (dusk,)):
            prompt_encoder.condition(prompt_order("a dusk", guidance_scale=1.0, embeddings=embeddings))
        assert counter.calls[0] == 2


FORMS = {
    "by the encoder's number": ("text_encoders_0", "text_encoders_1"),
    "by the encoder's name": ("clip_l", "clip_g"),
    "behind a word": ("cat.clip_l", "cat.clip_g"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_names_leads_to_the_same_embedding(
    form: str, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    path = tmp_path / "named.safetensors"
    save_file(dict(zip(FORMS[form], random_vectors(parts), strict=False)), path)
    made = alone(parts, "dusk", embeddings=(embedding_source("dusk", path),))
    assert torch.equal(made, alone(parts, "dusk", embeddings=(dusk,)))


def test_the_word_in_a_file_calls_it(
    base: ModelBase, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    keys = ["<cat>"] if base is ModelBase.SD else ["<cat>.clip_l", "<cat>.clip_g"]
    path = tmp_path / "learned.safetensors"
    save_file(dict(zip(keys, random_vectors(parts), strict=True)), path)
    expected = alone(parts, "a dusk", embeddings=(dusk,))
    source = embedding_source("learned", path)
    assert torch.equal(alone(parts, "a <cat>", embeddings=(source,)), expected)
    assert torch.equal(alone(parts, "a learned", embeddings=(source,)), expected)


def test_several_words_in_one_file_are_called_one_by_one(
    base: ModelBase, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    tensors = {}
    for word, vectors in {"<s0>": random_vectors(parts), "<s1>": random_vectors(parts, seed=2)}.items():
        keys = [word] if base is ModelBase.SD else [f"{word}.clip_l", f"{word}.clip_g"]
        tensors |= dict(zip(keys, vectors, strict=True))
    path = tmp_path / "words.safetensors"
    save_file(tensors, path)
    source = embedding_source("words", path, "<s0>", "<s1>")
    dawn = embedding_source(
        "dawn", write_embedding(tmp_path / "d.safetensors", random_vectors(parts, seed=2))
    )
    expected = alone(parts, "a dusk, dawn", embeddings=(dusk, dawn))
    assert torch.equal(alone(parts, "a <s0>, <s1>", embeddings=(source,)), expected)
    assert torch.equal(alone(parts, "words", embeddings=(source,)), alone(parts, "words"))


def test_a_folder_with_the_two_files_of_sdxl_is_one_embedding(
    base: ModelBase, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    for held, name in zip(random_vectors(parts), PAIR, strict=False):
        save_file({"<cat>": held}, tmp_path / name)
    source = msgspec.structs.replace(embedding_source("cats", tmp_path), uri=tmp_path.as_uri())
    assert torch.equal(
        alone(parts, "a <cat>", embeddings=(source,)), alone(parts, "a dusk", embeddings=(dusk,))
    )
    if base is ModelBase.SDXL:
        half = embedding_source("half", tmp_path / PAIR[0])
        with pytest.raises(ModelUnreadable, match="one of the two files of an SDXL embedding"):
            alone(parts, "a <cat>", embeddings=(half,))


def test_output_vectors_stand_in_the_place_of_the_word_in_what_the_encoder_says(
    parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    outputs = [torch.full_like(held, 7.0) for held in random_vectors(parts)]
    path = tmp_path / "outputs.safetensors"
    tensors = dict(zip(("clip_l", "clip_g"), random_vectors(parts), strict=False))
    save_file(tensors | dict(zip(("clip_l_out", "clip_g_out"), outputs, strict=False)), path)
    plain = alone(parts, "a dusk ball", embeddings=(dusk,))
    made = alone(parts, "a dusk ball", embeddings=(embedding_source("dusk", path),))
    assert (made[2:4] == 7.0).all()
    assert torch.equal(made[:2], plain[:2])
    assert torch.equal(made[4:], plain[4:])


def test_words_that_come_with_a_lora_are_usable_with_it(
    base: ModelBase, parts: Components, dusk: ModelSource, tmp_path: Path
) -> None:
    ends = ["string_to_param.*"] if base is ModelBase.SD else ["clip_l", "clip_g"]
    tensors = {
        f"bundle_emb.my word.{end}": held for end, held in zip(ends, random_vectors(parts), strict=True)
    }
    layer = parts.networks[Network.UNET].get_submodule("conv_out")
    tensors["lora_unet_conv_out.diff_b"] = torch.zeros_like(layer.bias)
    path = tmp_path / "pivotal.safetensors"
    save_file(tensors, path)
    assert describe_file(path).trigger_words == ("my word",)
    source = lora_source(path)
    manager = LoraManager(parts, max_count=1, max_bytes=1 << 30)
    loras = manager.load_set([source], [LoraUse(model_id=source.model_id, weight=0.5)])
    encoder, order = PromptEncoder(parts), prompt_order("a My Word", guidance_scale=1.0)
    made = encoder.condition(order, loras.for_text).conditioning.embeds[0]
    assert torch.equal(made, alone(parts, "a dusk", embeddings=(dusk,)))
    assert torch.equal(encoder.condition(order).conditioning.embeds[0], alone(parts, "a My Word"))


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"clip_g": (1, 128)}, "lacks the vectors for the first text encoder"),
        ({"a": (1, 96), "a.clip_g": (1, 128), "b.clip_l": (1, 96)}, "of b for the second text encoder"),
        ({"clip_l_out": (1, 96)}, "for the output of a text encoder only"),
        ({"clip_l": (2, 96), "clip_g": (1, 128)}, "another number of vectors"),
        ({"clip_l": (1, 96), "clip_g": (1, 128), "t5xxl": (1, 96)}, "another model family"),
    ],
)
def test_incomplete_embeddings_are_refused_at_registration_too(
    shapes: dict[str, tuple[int, ...]], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, path)
    with pytest.raises(ModelUnreadable, match=says):
        describe_embedding(read_header(path))
