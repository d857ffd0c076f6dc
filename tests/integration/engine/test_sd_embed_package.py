"""The technique sd_embed where the package of that name is installed."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from prompting import alone, encoded_prompts, encoders

from engine_worker.engine.networks.components import Components, SdText
from engine_worker.engine.prompts.embedding_tokens import EmbeddingTokens
from engine_worker.engine.prompts.reader import make_readers
from engine_worker.engine.prompts.sd_embed_package import SdEmbedPackage, find_sd_embed
from engine_worker.engine.prompts.weighted import Weighted
from kernel.protocol.enums import PromptTechnique
from kernel.protocol.errors import JobRejected

pytestmark = pytest.mark.torch

TECHNIQUE = PromptTechnique.SD_EMBED
FOREIGN = Path(__file__).parent / "foreign"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is called sd_embed is installed."""
    forget()
    monkeypatch.syspath_prepend(FOREIGN)
    yield
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sd_embed"]:
        del sys.modules[name]


def test_without_the_package_the_technique_is_our_own() -> None:
    if find_spec("sd_embed") is not None:
        pytest.skip("the package sd_embed is installed here")
    assert isinstance(find_sd_embed(), Weighted)


def test_a_package_that_cannot_be_imported_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sd_embed").mkdir()
    (tmp_path / "sd_embed" / "__init__.py").touch()
    (tmp_path / "sd_embed" / "embedding_funcs.py").write_text("import a_package_that_is_not_there")
    forget()
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(find_sd_embed(), Weighted)
    assert "sd_embed_unusable" in caplog.text
    forget()


@pytest.mark.usefixtures("package")
def test_the_package_is_used_where_it_is_installed(parts: Components) -> None:
    assert isinstance(find_sd_embed(), SdEmbedPackage)
    plain, made = alone(parts, "a red ball"), alone(parts, "a (red:1.5) ball", technique=TECHNIQUE)
    width = encoders(parts)[0].config.hidden_size
    assert torch.allclose(made[2, :width], plain[2, :width] * 1.5)
    assert torch.equal(made[1, :width], plain[1, :width])


@pytest.mark.usefixtures("package")
def test_the_job_s_clip_skip_holds_without_a_layer_being_cut(parts: Components) -> None:
    layers = [sum(1 for _ in encoder.modules()) for encoder in encoders(parts)]
    width = encoders(parts)[0].config.hidden_size
    made = alone(parts, "a ball (table:1.5)", technique=TECHNIQUE, clip_skip=2)
    assert torch.equal(made[:3, :width], alone(parts, "a ball table", clip_skip=2)[:3, :width])
    assert [sum(1 for _ in encoder.modules()) for encoder in encoders(parts)] == layers


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("prompt", ["a red ball", "a ball: 16:9", "a \\(red\\) ball", "ball " * 75])
def test_the_package_does_not_get_a_prompt_without_weights_in_one_chunk(
    prompt: str, parts: Components
) -> None:
    mine = alone(parts, prompt.replace("\\", ""))
    assert torch.equal(alone(parts, prompt, technique=TECHNIQUE), mine)
    more = f"{prompt} ball" if prompt.startswith("ball") else f"({prompt}:1.2)"
    assert not torch.equal(alone(parts, more, technique=TECHNIQUE), mine)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("prompt", ["", " ", "()", "BREAK"])
def test_an_empty_prompt_is_not_the_word_empty(prompt: str, parts: Components) -> None:
    assert torch.equal(alone(parts, prompt, technique=TECHNIQUE), alone(parts, ""))


@pytest.mark.usefixtures("package")
def test_long_prompts_breaks_and_negative_prompts_make_whole_chunks(parts: Components) -> None:
    made = encoded_prompts(parts, "ball " * 100 + "BREAK table", "blue", technique=TECHNIQUE).conditioning
    assert made.embeds.shape[:2] == (2, 3 * 77)
    assert (made.pooled is None) is isinstance(parts.text, SdText)


@pytest.mark.usefixtures("package")
def test_the_package_too_gets_no_more_chunks_than_can_be_encoded(parts: Components) -> None:
    with pytest.raises(JobRejected, match=r"^prompt: too long: 65 chunks"):
        encoded_prompts(parts, "ball BREAK " * 64 + "table", technique=TECHNIQUE)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("prompt", ["(a:101)", "(a:60000)(b:70000)", "(a:-100.5)"])
def test_the_package_too_gets_no_weight_out_of_range(prompt: str, parts: Components) -> None:
    with pytest.raises(JobRejected, match=r"^prompt: weights must be at most 100"):
        encoded_prompts(parts, prompt, technique=TECHNIQUE)


def test_the_real_package_reads_what_we_read(parts: Components) -> None:
    pytest.importorskip("sd_embed.embedding_funcs", reason="the package sd_embed is not installed")
    prompts = [
        "a (red circle BREAK blue sky:1.25) house",
        "(red: 1.5) ball",
        "(b:1.2.3)",
        "a \\(red\\) [ball]",
    ]
    width = encoders(parts)[0].config.hidden_size
    readers = make_readers(parts, (EmbeddingTokens(()),) * len(encoders(parts)), None)
    for prompt in prompts:
        mine, theirs = (
            one.read(prompt)(readers).embeds[..., :width] for one in (Weighted(), find_sd_embed())
        )
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=5e-3), prompt


@pytest.mark.usefixtures("package")
def test_what_the_package_writes_into_is_nobody_elses(parts: Components) -> None:
    before = alone(parts, "a red ball")
    alone(parts, "a (red:3) ball", technique=TECHNIQUE)
    assert torch.equal(alone(parts, "a red ball"), before)


def test_the_real_package_reads_a1111s_syntax(parts: Components) -> None:
    pytest.importorskip("sd_embed.embedding_funcs", reason="the package sd_embed is not installed")
    plain, made = alone(parts, "a red ball"), alone(parts, "a (red:1.5) ball", technique=TECHNIQUE)
    width = encoders(parts)[0].config.hidden_size
    assert torch.allclose(made[2, :width], plain[2, :width] * 1.5, rtol=1e-3)
    assert torch.equal(alone(parts, "a red ball", technique=TECHNIQUE), plain)
