"""LoRAs: equal to diffusers' own, switched between jobs, and without a trace when they are off."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lora_files import ALPHA, RANK, lora_source, random_factors, write_diffusers, write_kohya
from small_engine import spec
from stock import Stock, make_alone
from torch import Tensor, nn

from engine_worker.engine.adapters.extras import Extras
from engine_worker.engine.adapters.wardrobe import NO_ADAPTERS, AdapterSet
from engine_worker.engine.blueprint import Network
from engine_worker.engine.parts import Parts
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.ingredients import LoraUse

pytestmark = pytest.mark.torch

JOB = spec(steps=1)
Uses = Sequence[tuple[str, float]]


class Studio:
    """Parts with LoRAs: kohya's and diffusers' form, and one for the text encoders alone."""

    def __init__(self, parts: Parts, place: Path) -> None:
        self.parts = parts
        self.wardrobe = Extras(parts).wardrobe
        encoders = (Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER)
        self.paths = {
            "kohya": write_kohya(place / "kohya.safetensors", parts, random_factors(parts, 1)),
            "peft": write_diffusers(place / "peft.safetensors", random_factors(parts, 2)),
            "text": write_kohya(place / "text.safetensors", parts, random_factors(parts, 3, encoders)),
        }
        self.plain = self.latents()

    def adapters(self, uses: Uses) -> AdapterSet:
        sources = [lora_source(path) for path in self.paths.values()]
        return self.wardrobe.prepare(sources, [LoraUse(model_id=ModelId(n), weight=w) for n, w in uses])

    def latents(self, uses: Uses = ()) -> Tensor:
        self.wardrobe.wear(self.adapters(uses))
        try:
            return make_alone(self.parts, JOB)
        finally:
            self.wardrobe.wear(NO_ADAPTERS)

    def fingerprint(self) -> str:
        """Of every weight of every network; and no layer has a hook left."""
        digest = hashlib.sha256()
        for network in self.parts.networks.values():
            for name, held in network.state_dict().items():
                digest.update(name.encode() + held.numpy().tobytes())
            layers = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
            assert not any(layer._forward_hooks for layer in layers)
        return digest.hexdigest()


@pytest.fixture(scope="module")
def studio(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(parts, tmp_path_factory.mktemp("loras"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "uses", [[("kohya", 0.7)], [("peft", -0.5)], [("kohya", 0.5), ("peft", 1.25)]], ids=str
)
def test_latents_equal_those_of_diffusers_own_loaders(studio: Studio, stock: Stock, uses: Uses) -> None:
    for name, _ in uses:
        stock.pipeline.load_lora_weights(str(studio.paths[name]), adapter_name=name)
    stock.pipeline.set_adapters([name for name, _ in uses], [weight for _, weight in uses])
    theirs, _ = stock.make(JOB)
    stock.pipeline.unload_lora_weights()
    ours = studio.latents(uses)
    assert (ours - studio.plain).abs().max() > 0.01
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
    studio: Studio, jobs: list[Uses]
) -> None:
    before = studio.fingerprint()
    made = [(uses, studio.latents(uses)) for uses in jobs]
    assert studio.fingerprint() == before
    assert torch.equal(studio.latents(), studio.plain)
    uses, latents = made[-1]
    fresh = Extras(studio.parts).wardrobe
    sources = [lora_source(path) for path in studio.paths.values()]
    fresh.wear(fresh.prepare(sources, [LoraUse(model_id=ModelId(n), weight=w) for n, w in uses]))
    assert torch.equal(make_alone(studio.parts, JOB), latents)
    fresh.wear(NO_ADAPTERS)


def test_a_weight_of_nothing_is_no_lora_to_the_bit(studio: Studio) -> None:
    assert (
        studio.adapters([("kohya", 0.0)]) == studio.adapters([("peft", 1.0), ("peft", -1.0)]) == NO_ADAPTERS
    )
    assert torch.equal(studio.latents([("kohya", 0.0)]), studio.plain)


def test_sets_are_equal_whatever_the_order_and_differ_by_weight(studio: Studio) -> None:
    one = studio.adapters([("kohya", 0.5), ("peft", 1.0)])
    other = studio.adapters([("peft", 0.5), ("kohya", 0.5), ("peft", 0.5)])
    assert one == other
    assert hash(one) == hash(other)
    assert one != studio.adapters([("kohya", 0.5), ("peft", 0.9)])


def test_what_the_unet_and_the_text_encoders_see_is_told_apart(studio: Studio) -> None:
    adapters = studio.adapters([("kohya", 1.0), ("text", 1.0)])
    assert adapters.for_text == adapters
    assert adapters.for_unet == studio.adapters([("kohya", 1.0)])


def test_wearing_the_same_again_changes_no_hook(studio: Studio) -> None:
    studio.wardrobe.wear(studio.adapters([("kohya", 1.0)]))
    before = list(studio.wardrobe._handles)
    studio.wardrobe.wear(studio.adapters([("kohya", 1.0)]))
    assert list(studio.wardrobe._handles) == before
    studio.wardrobe.wear(NO_ADAPTERS)


def test_a_lora_that_is_in_use_outlives_its_place_on_the_shelf(studio: Studio) -> None:
    adapters = studio.adapters([("kohya", 1.0)])
    before = studio.latents([("kohya", 1.0)])
    studio.wardrobe.clear()
    assert studio.wardrobe.size_bytes == 0
    studio.wardrobe.wear(adapters)
    assert torch.equal(make_alone(studio.parts, JOB), before)
    studio.wardrobe.wear(NO_ADAPTERS)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_rejected(studio: Studio, weight: float) -> None:
    with pytest.raises(JobRejected, match="must be a number"):
        studio.adapters([("kohya", weight)])


def test_a_lora_that_did_not_come_along_is_rejected(studio: Studio) -> None:
    with pytest.raises(JobRejected, match="does not say where it is"):
        studio.adapters([("unheard of", 1.0)])


def test_the_alpha_that_diffusers_writes_into_the_metadata_counts(studio: Studio, tmp_path: Path) -> None:
    """The same factors say their alpha once by key and once by metadata, here for one layer apart."""
    networks = (Network.UNET,)
    factors = random_factors(studio.parts, 5, networks)
    apart = next(module for _, module in factors)
    said = {"unet.r": RANK, "unet.lora_alpha": ALPHA, "unet.alpha_pattern": {apart: 2 * ALPHA}}
    path = write_diffusers(
        tmp_path / "said.safetensors", factors, {"lora_adapter_metadata": json.dumps(said)}
    )
    doubled = {key: (down, 2 * up if key[1] == apart else up) for key, (down, up) in factors.items()}
    studio.paths |= {
        "said": path,
        "keyed": write_kohya(tmp_path / "keyed.safetensors", studio.parts, doubled),
    }
    assert torch.equal(studio.latents([("said", 1.0)]), studio.latents([("keyed", 1.0)]))
