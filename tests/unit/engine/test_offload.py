"""Networks that rest: brought once for all who use them, and gone with the last."""

from collections.abc import Callable
from threading import Event, Thread

import pytest
import torch
from torch import Tensor, nn

from engine_worker.engine.networks.offload import HOME, OffloadedModules, load_under, offload_under
from kernel.protocol.enums import MemoryPlan

pytestmark = pytest.mark.torch

SWAPPED = MemoryPlan.SWAPPED
META = torch.device("meta")


class Ferry:
    """A carrier whose far shore is the same memory; it writes down what is asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda word: None

    def fetch(self, tensor: Tensor) -> Tensor:
        self._note("fetch")
        return tensor.clone()

    def settle(self) -> None:
        self._note("settle")

    def clear(self) -> None:
        self._note("clear")

    def _note(self, word: str) -> None:
        self.log.append(word)
        self.meanwhile(word)


class Network(nn.Module):
    """A layer, and a buffer as CLIP has one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.register_buffer("positions", torch.arange(4), persistent=False)
        self.requires_grad_(False)

    def held(self) -> list[Tensor]:
        return [*self.parameters(), *self.buffers()]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def ferry() -> Ferry:
    return Ferry()


@pytest.fixture
def resting(network: Network, ferry: Ferry) -> OffloadedModules:
    return OffloadedModules([network], ferry)


def are_same(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(found) == len(wanted) and all(one is other for one, other in zip(found, wanted, strict=True))


def test_a_network_works_with_copies_and_has_its_own_weights_again_afterwards(
    network: Network, ferry: Ferry, resting: OffloadedModules
) -> None:
    at_home = network.held()
    wanted = network.layer(torch.ones(2))
    with resting.loaded():
        loaded = network.held()
        assert not any(one is other for one, other in zip(loaded, at_home, strict=True))
        assert all(torch.equal(one, other) for one, other in zip(loaded, at_home, strict=True))
        assert torch.equal(network.layer(torch.ones(2)), wanted)
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert are_same(network.held(), at_home), "the very same: nothing is copied back"
    assert ferry.log.count("fetch") == len(at_home)


def test_weights_that_are_not_there_yet_are_waited_for_and_those_still_read_are_not_let_go(
    network: Network, ferry: Ferry, resting: OffloadedModules
) -> None:
    at_home, seen = network.held(), list[tuple[str, bool]]()
    ferry.meanwhile = lambda word: seen.append((word, are_same(network.held(), at_home)))
    with resting.loaded():
        ferry.log.append("used")
    assert ferry.log == ["clear", *["fetch"] * 3, "settle", "used", "settle", "clear"]
    assert seen[-2:] == [("settle", False), ("clear", True)], "its memory is free when it is given back"


def test_several_users_share_what_was_brought_for_the_first(
    network: Network, ferry: Ferry, resting: OffloadedModules
) -> None:
    with resting.loaded():
        there = network.held()
        with resting.loaded():
            assert are_same(network.held(), there)
        assert are_same(network.held(), there)
    assert ferry.log.count("fetch") == len(there)
    with resting.loaded():
        assert not are_same(network.held(), there), "it had gone, and came anew"


def test_a_user_on_another_thread_keeps_it_from_going(network: Network, resting: OffloadedModules) -> None:
    at_home, is_in, may_go = network.held(), Event(), Event()

    def use() -> None:
        with resting.loaded():
            is_in.set()
            may_go.wait(30)

    other = Thread(target=use)
    with resting.loaded():
        there = network.held()
        other.start()
        assert is_in.wait(30)
    assert are_same(network.held(), there)
    may_go.set()
    other.join(30)
    assert are_same(network.held(), at_home)


def test_who_comes_while_it_is_being_brought_waits_until_all_of_it_is_there(
    network: Network, ferry: Ferry, resting: OffloadedModules
) -> None:
    at_home, found = network.held(), list[bool]()

    def use() -> None:
        with resting.loaded():
            found.append(any(one is other for one, other in zip(network.held(), at_home, strict=True)))

    other = Thread(target=use)

    def start_once(word: str) -> None:
        ferry.meanwhile = lambda word: None
        other.start()

    ferry.meanwhile = start_once
    with resting.loaded():
        other.join(30)
    assert found == [False]


def test_many_threads_at_once_leave_it_at_home(network: Network, resting: OffloadedModules) -> None:
    at_home, wrong = network.held(), list[bool]()

    def use() -> None:
        for _ in range(50):
            with resting.loaded():
                mixed = {one is other for one, other in zip(network.held(), at_home, strict=True)}
                if mixed != {False}:
                    wrong.append(True)

    threads = [Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert are_same(network.held(), at_home)


def test_without_room_for_all_of_it_nothing_has_moved_and_it_can_be_tried_again(
    network: Network, ferry: Ferry, resting: OffloadedModules
) -> None:
    at_home = network.held()

    def refuse(word: str) -> None:
        if ferry.log.count("fetch") == 2:
            raise torch.OutOfMemoryError

    ferry.meanwhile = refuse
    with pytest.raises(torch.OutOfMemoryError), resting.loaded():
        raise AssertionError("nobody gets in")
    assert are_same(network.held(), at_home)
    ferry.meanwhile = lambda word: None
    with resting.loaded():
        assert not are_same(network.held(), at_home)
    assert are_same(network.held(), at_home)


def test_it_goes_although_its_user_or_the_device_fails(
    network: Network, ferry: Ferry, resting: OffloadedModules
) -> None:
    at_home = network.held()
    with pytest.raises(ValueError, match="the user"), resting.loaded():
        raise ValueError("the user")
    assert are_same(network.held(), at_home)

    def break_down(word: str) -> None:
        if word == "settle":
            raise torch.AcceleratorError("the device")

    with pytest.raises(torch.AcceleratorError), resting.loaded():
        ferry.meanwhile = break_down
    assert are_same(network.held(), at_home)


def test_weights_that_were_read_beside_the_steps_come_and_go_like_others(ferry: Ferry) -> None:
    """Beside the steps models are loaded in inference mode, whose tensors are of another kind."""
    with torch.inference_mode():
        network = Network()
    at_home, resting = network.held(), OffloadedModules([network], ferry)
    with resting.loaded():
        network.layer(torch.ones(2))
    with torch.inference_mode(), resting.loaded():
        network.layer(torch.ones(2))
    assert are_same(network.held(), at_home)


@pytest.mark.parametrize("plan", list(MemoryPlan))
def test_under_the_swapped_plan_alone_networks_are_brought_to_their_device(
    plan: MemoryPlan, network: Network
) -> None:
    loaded = load_under(plan, [network], META)
    with loaded():
        assert {held.device for held in network.held()} == {META if plan is SWAPPED else HOME}
    assert {held.device for held in network.held()} == {HOME}
    assert bool(offload_under(plan)) == (plan is SWAPPED)
