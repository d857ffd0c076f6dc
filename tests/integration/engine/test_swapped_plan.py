"""The swapped plan: nothing is computed with what rests, and every picture is that of the tiled plan."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lora_files import ENCODERS, lora_source, random_factors, write_kohya
from msgspec.structs import replace as changed
from prompting import embedding_source, encoders, random_vectors, write_embedding
from small_engine import SIZE_PX, Outcomes, load_order, model_source, order, source_of, spec
from torch import Tensor, nn

from bench.bell import Bell, run_out
from bench.pictures import photograph, png
from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.adapters.lora_delta import make_delta
from engine_worker.engine.background.apply_matte import Removers
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.loading.build_networks import build_networks
from engine_worker.engine.loading.load_checkpoint import load_components, read_layout
from engine_worker.engine.loading.networks import size_bytes
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.engine.networks.offload import HOME, OffloadedModules, offload_under
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import Postprocessor
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.lora_keys import Part
from engine_worker.port import NO_INPUTS, Completed, Inputs, Previewed
from kernel.core.memory_model.memory_demand import MemoryDemand, resident_bytes
from kernel.protocol.enums import InputKind, MemoryPlan, ModelBase, ModelType, PromptTechnique, Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import LoraUse, ModelSource
from kernel.protocol.specs import JobOrder
from tests.integration.engine.test_memory_profile import profile_of

pytestmark = pytest.mark.torch

SWAPPED, TILED = MemoryPlan.SWAPPED, MemoryPlan.TILED
META = torch.device("meta")
"""A device on which nothing can be computed: what is to be there later is on the CPU until then."""
Jobs = Mapping[str, tuple[JobOrder, Inputs]]


class Ruin:
    """A carrier that leaves no numbers at home: who computes with what rests gets no picture."""

    def __init__(self, networks: list[nn.Module]) -> None:
        held = [one for network in networks for one in network.parameters()]
        self._good = {id(one): one.clone() for one in held}
        self.fetched = 0
        for one in held:
            one.fill_(float("nan"))

    def fetch(self, tensor: Tensor) -> Tensor:
        self.fetched += 1
        return self._good.get(id(tensor), tensor).clone()

    def settle(self) -> None:
        """Work is done when it returns."""

    def clear(self) -> None:
        """Nothing is held."""


class Ruined:
    """A checkpoint under the swapped plan, whose networks are nothing while they rest."""

    def __init__(self, path: Path) -> None:
        parts = load_components(source_of(path), HOME, torch.float32, SWAPPED)
        self.text, self.vae = Ruin(encoders(parts)), Ruin([parts.networks[Network.VAE]])
        self.parts = replace(
            parts,
            text=replace(parts.text, loaded=OffloadedModules(encoders(parts), self.text).loaded),
            vae=replace(parts.vae, loaded=OffloadedModules([parts.networks[Network.VAE]], self.vae).loaded),
        )


@pytest.fixture(scope="module")
def ruined(base: ModelBase, checkpoints: Path) -> Ruined:
    return Ruined(checkpoints / f"{base}.safetensors")


@pytest.fixture(scope="module")
def tiled(base: ModelBase, checkpoints: Path) -> Components:
    return load_components(source_of(checkpoints / f"{base}.safetensors"), HOME, torch.float32, TILED)


@pytest.fixture
def vae_source(base: ModelBase, checkpoints: Path) -> ModelSource:
    return model_source(checkpoints / str(base) / "vae", ModelType.VAE)


def run(parts: Components, jobs: Jobs) -> Outcomes:
    """Make the jobs in one engine, with all that there is to do beside their steps; but each picture steps
    alone, as those that share a call differ by the rounding of its size."""
    outcomes, bell = Outcomes(), Bell()
    postprocessor = Postprocessor(source_of(Path("/models/m.safetensors")), Removers(HOME))
    engine_core = EngineCore(bare_resources(parts), postprocessor.put, 1, outcomes.emit, bell.ring)
    for one, inputs in jobs.values():
        engine_core.admit(one, inputs)
    run_out(engine_core, bell)
    engine_core.close()
    postprocessor.close()
    return outcomes


def files(outcomes: Outcomes, jobs: Jobs) -> dict[str, list[bytes]]:
    return {name: [one.data for one in outcomes.pictures(name)] for name in jobs}


def warnings(outcomes: Outcomes) -> list[str]:
    return [text for one in outcomes.all if isinstance(one, Completed) for text in one.warnings]


def jobs_of_all_kinds(parts: Components, place: Path, vae: ModelSource) -> Jobs:
    """Words by each technique, pictures that come along, a LoRA, a word and a VAE of the job's own."""
    plain = spec(steps=2, previews=True)
    lora = lora_source(write_kohya(place / "text.safetensors", parts, random_factors(parts, 3, ENCODERS)))
    word = embedding_source("Dusk", write_embedding(place / "dusk.safetensors", random_vectors(parts)))
    weighted = {
        str(technique): changed(plain, prompt="a (ball)1.4 " + "red " * 80, long_prompt_technique=technique)
        for technique in PromptTechnique
    }
    jobs = weighted | {
        "lora": changed(plain, loras=(LoraUse(model_id=lora.model_id, weight=0.8),)),
        "word": changed(plain, prompt="a Dusk", embeddings=(word.model_id,)),
        "vae": changed(plain, vae=vae.model_id),
        "two": changed(plain, count=2),
        "reference": changed(plain, strength=0.6),
    }
    reference = {InputKind.REFERENCE: png(photograph(SIZE_PX, SIZE_PX))}
    return {
        name: (
            changed(order(name, job), models=(lora, word, vae)),
            reference if name == "reference" else NO_INPUTS,
        )
        for name, job in jobs.items()
    }


@pytest.mark.sampled(1)
def test_pictures_of_all_kinds_of_jobs_are_those_of_the_tiled_plan_to_the_bit(
    ruined: Ruined, tiled: Components, vae_source: ModelSource, tmp_path: Path
) -> None:
    jobs = jobs_of_all_kinds(tiled, tmp_path, vae_source)
    wanted, found = run(tiled, jobs), run(ruined.parts, jobs)
    assert files(found, jobs) == files(wanted, jobs)
    assert [len(made) for made in files(found, jobs).values()] == [1, 1, 1, 1, 1, 1, 2, 1]
    assert any(isinstance(one, Previewed) for one in found.all), "some may be left out where drawing is slow"
    assert not [text for text in warnings(found) if "preview" in text]
    assert all(one.isnan().all() for network in encoders(ruined.parts) for one in network.parameters())


def test_one_prompt_has_its_encoders_brought_once_and_one_that_is_remembered_not_at_all(
    ruined: Ruined,
) -> None:
    work = bare_resources(ruined.parts)
    held = sum(1 for network in encoders(ruined.parts) for _ in (*network.parameters(), *network.buffers()))
    asked = order("job", spec(prompt="a " * 200, negative_prompt="blue", technique=PromptTechnique.SD_EMBED))
    before = ruined.text.fetched
    work.prompt_encoder.condition(asked)
    assert ruined.text.fetched - before == held, "for both prompts and all of their chunks together"
    work.prompt_encoder.condition(asked)
    assert ruined.text.fetched - before == held


@pytest.mark.sampled(1)
def test_the_engine_makes_the_pictures_of_the_tiled_plan_and_says_so_in_their_recipes(
    base: ModelBase, checkpoints: Path
) -> None:
    path, made = checkpoints / f"{base}.safetensors", {}
    for plan in (TILED, SWAPPED):
        outcomes, bell = Outcomes(), Bell()
        engine = build(outcomes.emit, bell.ring)
        engine.load(changed(load_order(path), plan=plan))
        engine.admit(order("job", spec()))
        while engine.step():
            pass
        engine.close()
        (made[plan],) = outcomes.pictures("job")
    assert made[SWAPPED].data == made[TILED].data
    assert b"VAE tiling: 32" in made[SWAPPED].data


def test_what_rests_is_not_on_the_device_when_it_is_loaded(base: ModelBase, checkpoints: Path) -> None:
    plans = read_layout(checkpoints / f"{base}.safetensors").networks
    resting = [plan for plan in plans if plan.network in offload_under(SWAPPED)]
    networks = build_networks(resting, META, torch.float16, offload_under(SWAPPED))
    assert len(networks) == len(plans) - 1, "all but the UNet"
    assert {held.device for network in networks for held in network.parameters()} == {HOME}
    with pytest.raises(ModelUnreadable, match="no weights for"):
        build_networks(plans, META, torch.float16, offload_under(SWAPPED))


def devices_of(vae: Vae) -> set[torch.device]:
    assert isinstance(vae.decoder, nn.Module)
    return {held.device for held in vae.decoder.parameters()}


def test_another_vae_rests_too_and_goes_to_the_device_while_it_is_used(
    ruined: Ruined, vae_source: ModelSource
) -> None:
    adapters = AdapterManager(replace(ruined.parts, device=META))
    vae = adapters.vae([vae_source], vae_source.model_id)
    assert vae.in_tiles
    assert devices_of(vae) == {HOME}
    with vae.loaded():
        assert devices_of(vae) == {META}
    assert devices_of(vae) == {HOME}
    assert adapters.memory_bytes == 0, "of the device"


def test_a_lora_lies_where_its_layers_work_not_where_they_rest() -> None:
    layer, tensors = nn.Linear(8, 12), {Part.DOWN: torch.ones(4, 8), Part.UP: torch.ones(12, 4)}
    lengths = {Part.MAGNITUDES: torch.ones(12)}
    for parts in (tensors, tensors | lengths):
        change = make_delta(parts, lambda rank: 1.0, layer, META)
        assert {held.device for held in change.tensors} == {META}
        change = make_delta(parts, lambda rank: 1.0, layer)
        assert {held.device for held in change.tensors} == {HOME}


@pytest.mark.sampled(1)
def test_an_engine_that_has_loaded_says_what_it_holds_all_the_time(
    base: ModelBase, parts: Components, checkpoints: Path, vae_source: ModelSource
) -> None:
    path = checkpoints / f"{base}.safetensors"
    engine = build(Outcomes().emit, Bell().ring)
    loaded = engine.load(changed(load_order(path), plan=SWAPPED, models=(vae_source,)))
    engine.close()
    unet_bytes = size_bytes(parts.networks[Network.UNET])
    assert loaded.memory_bytes == unet_bytes
    demand = MemoryDemand(profile_of(path), (), 0, Variant.FP32, SIZE_PX, SIZE_PX, None)
    assert resident_bytes(demand, "cuda", SWAPPED) == pytest.approx(unet_bytes, rel=0.001)
