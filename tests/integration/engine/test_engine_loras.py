"""LoRAs: equal to diffusers' own, switched between jobs, and without a trace when they are off."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lora_files import ALPHA, ENCODERS, RANK, lora_source, random_factors, write_diffusers, write_kohya
from msgspec.structs import replace as changed
from small_engine import spec
from torch import Tensor, nn

from bench.ours import make_alone, make_together
from bench.stock import Asked, Stock
from engine_worker.engine.adapters.lora_manager import NO_ADAPTERS, AdapterSet
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse

pytestmark = pytest.mark.torch

JOB = spec(steps=1)
Uses = Sequence[tuple[str, float]]


class Engine:
    """Parts with LoRAs: kohya's and diffusers' form, and one for the text encoders alone."""

    def __init__(self, parts: Components, place: Path) -> None:
        self.parts = parts
        self.work = bare_resources(parts)
        self.lora_manager = self.work.adapters.lora_manager
        self.paths = {
            "kohya": write_kohya(place / "kohya.safetensors", parts, random_factors(parts, 1)),
            "peft": write_diffusers(place / "peft.safetensors", random_factors(parts, 2)),
            "text": write_kohya(place / "text.safetensors", parts, random_factors(parts, 3, ENCODERS)),
        }
        self.plain = self.latents()

    def job(self, uses: Uses) -> Asked:
        """The one job, with these LoRAs."""
        loras = tuple(LoraUse(model_id=ModelId(name), weight=weight) for name, weight in uses)
        return Asked(changed(JOB, loras=loras), models=[lora_source(path) for path in self.paths.values()])

    def adapters(self, uses: Uses) -> AdapterSet:
        asked = self.job(uses)
        return self.lora_manager.load_set(asked.models, asked.spec.loras)

    def latents(self, uses: Uses = ()) -> Tensor:
        return make_alone(self.work, self.job(uses) if uses else Asked(JOB))

    def fresh_latents(self, uses: Uses) -> Tensor:
        """Of an engine that has done nothing before. The parts are shared, so this one's LoRAs come off."""
        self.lora_manager.apply(NO_ADAPTERS)
        work = bare_resources(self.parts)
        latents = make_alone(work, self.job(uses))
        work.adapters.lora_manager.apply(NO_ADAPTERS)
        return latents

    def fingerprint(self) -> str:
        """Of every weight of every network; and without LoRAs no layer has a hook left."""
        self.lora_manager.apply(NO_ADAPTERS)
        digest = hashlib.sha256()
        for network in self.parts.networks.values():
            for name, held in network.state_dict().items():
                digest.update(name.encode() + held.numpy().tobytes())
            layers = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
            assert not any(layer._forward_hooks for layer in layers)
        return digest.hexdigest()


@pytest.fixture(scope="module")
def engine(parts: Components, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(parts, tmp_path_factory.mktemp("loras"))


@pytest.fixture(autouse=True)
def _take_loras_off(engine: Engine) -> Iterator[None]:
    yield
    engine.lora_manager.apply(NO_ADAPTERS)


@pytest.mark.sampled(3)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "uses", [[("kohya", 0.7)], [("peft", -0.5)], [("kohya", 0.5), ("peft", 1.25)]], ids=str
)
def test_latents_equal_those_of_diffusers_own_loaders(engine: Engine, stock: Stock, uses: Uses) -> None:
    asked = engine.job(uses)
    names = {name for name, _ in uses}
    theirs, _ = stock.make(replace(asked, models=[source for source in asked.models if source.name in names]))
    ours = engine.latents(uses)
    assert (ours - engine.plain).abs().max() > 0.01
    assert (ours - theirs).abs().max() <= 1e-4


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["kohya", "peft", "text"]), st.sampled_from([-1.0, 0.0, 0.5, 1.0])),
            max_size=3,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_after_any_jobs_weights_and_pictures_are_those_of_a_fresh_engine(
    engine: Engine, jobs: list[Uses]
) -> None:
    before = engine.fingerprint()
    made = [(uses, engine.latents(uses)) for uses in jobs]
    assert engine.fingerprint() == before
    assert torch.equal(engine.latents(), engine.plain)
    uses, latents = made[-1]
    assert torch.equal(engine.fresh_latents(uses), latents)


def test_jobs_with_and_without_loras_in_company_are_the_same_as_alone(engine: Engine) -> None:
    jobs: list[Uses] = [[], [("kohya", 0.5)], [("peft", 1.0)], [], [("kohya", 0.5)]]
    alone = [engine.latents(uses) for uses in jobs]
    together = make_together(engine.work, [engine.job(uses) for uses in jobs], slots=4)
    for one, other in zip(together, alone, strict=True):
        assert (one - other).abs().max() <= 1e-4


def test_a_weight_of_nothing_is_no_lora_to_the_bit(engine: Engine) -> None:
    assert (
        engine.adapters([("kohya", 0.0)]) == engine.adapters([("peft", 1.0), ("peft", -1.0)]) == NO_ADAPTERS
    )
    assert torch.equal(engine.latents([("kohya", 0.0)]), engine.plain)


def test_sets_are_equal_whatever_the_order_and_differ_by_weight(engine: Engine) -> None:
    one = engine.adapters([("kohya", 0.5), ("peft", 1.0)])
    other = engine.adapters([("peft", 0.5), ("kohya", 0.5), ("peft", 0.5)])
    assert one == other
    assert hash(one) == hash(other)
    assert one != engine.adapters([("kohya", 0.5), ("peft", 0.9)])


def test_what_the_unet_and_the_text_encoders_see_is_told_apart(engine: Engine) -> None:
    adapters = engine.adapters([("kohya", 1.0), ("text", 1.0)])
    assert adapters.for_text == adapters
    assert adapters.for_unet == engine.adapters([("kohya", 1.0)])


def test_wearing_the_same_again_changes_no_hook(engine: Engine) -> None:
    engine.lora_manager.apply(engine.adapters([("kohya", 1.0)]))
    before = list(engine.lora_manager._handles)
    engine.lora_manager.apply(engine.adapters([("kohya", 1.0)]))
    assert list(engine.lora_manager._handles) == before


def test_a_lora_that_is_in_use_outlives_its_place_on_the_shelf(engine: Engine) -> None:
    adapters = engine.adapters([("kohya", 1.0)])
    (lora,) = [active.lora for active in adapters.loras]
    engine.lora_manager.clear()
    assert engine.lora_manager.size_bytes == 0
    engine.lora_manager.apply(adapters)
    again = engine.adapters([("kohya", 1.0)])
    assert again == adapters
    assert again.loras[0].lora is not lora


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_rejected(engine: Engine, weight: float) -> None:
    with pytest.raises(JobRejected, match="must be a finite number"):
        engine.adapters([("kohya", weight)])


def test_a_lora_that_did_not_come_along_is_rejected(engine: Engine) -> None:
    with pytest.raises(JobRejected, match="is missing from the order"):
        engine.adapters([("unheard of", 1.0)])


def test_the_alpha_that_diffusers_writes_into_the_metadata_counts(engine: Engine, tmp_path: Path) -> None:
    """The same factors say their alpha once by key and once by metadata, here for one layer apart."""
    networks = (Network.UNET,)
    factors = random_factors(engine.parts, 5, networks)
    apart = next(module for _, module in factors)
    said = {"unet.r": RANK, "unet.lora_alpha": ALPHA, "unet.alpha_pattern": {apart: 2 * ALPHA}}
    path = write_diffusers(
        tmp_path / "said.safetensors", factors, {"lora_adapter_metadata": json.dumps(said)}
    )
    doubled = {key: (down, 2 * up if key[1] == apart else up) for key, (down, up) in factors.items()}
    engine.paths |= {
        "said": path,
        "keyed": write_kohya(tmp_path / "keyed.safetensors", engine.parts, doubled),
    }
    assert torch.equal(engine.latents([("said", 1.0)]), engine.latents([("keyed", 1.0)]))
