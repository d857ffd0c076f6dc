"""Explains in numbers why an engine does not fit, and what would make it fit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from kernel.core.admission import memory_ledger
from kernel.core.memory_model import memory_demand
from kernel.core.state.world import Engine, World
from kernel.protocol.enums import MemoryRemedy, Variant
from kernel.protocol.errors import NotEnoughMemory
from kernel.protocol.memory import DeviceFit, MemoryShortage, Remedy

GIGABYTE: Final = 1_000_000_000
MEGABYTE: Final = 1_000_000
SIZE_STEP_PX: Final = 64
LEAST_SIDE_PX: Final = 64


def absent_device(world: World, wanted: str) -> str | None:
    """Why an engine cannot run on the device that its spec names; None, if it can or it is not known
    whether."""
    is_unmeasured = wanted.partition(":")[0] in memory_demand.UNMEASURED
    if not world.devices or is_unmeasured or memory_ledger.candidates(world, wanted):
        return None
    return f"this host has no device {wanted}; its devices are {', '.join(world.devices)}"


def explain(world: World, engine: Engine) -> NotEnoughMemory:
    """The refusal for an engine that cannot be admitted now, with remedies."""
    places = memory_ledger.candidates(world, engine.row.spec.device)
    if not places or memory_ledger.free_slots(world) <= 0:
        return _too_many(world)
    device = min(
        places, key=lambda name: _least_bytes(world, engine, name) - memory_ledger.free_bytes(world, name)
    )
    needed, free = _least_bytes(world, engine, device), memory_ledger.free_bytes(world, device)
    total = world.devices[device].status.total_bytes
    remedies = tuple(_remedies(world, engine, device, needed - free))
    helps = "; or ".join(remedy.text for remedy in remedies) or _last_resort(world, device, needed)
    error = NotEnoughMemory(
        f"the engine needs {size(needed)} on {device}, where {size(free)} of {size(total)} are left for "
        f"engines: {helps}"
    )
    error.shortage = MemoryShortage(
        device=device, needed_bytes=needed, free_bytes=free, total_bytes=total, remedies=remedies
    )
    return error


def device_fits(world: World, engine: Engine) -> tuple[DeviceFit, ...]:
    """How the engine would fit on each device that it may run on, as nothing else changes."""
    return tuple(
        _fit(world, engine, name) for name in memory_ledger.candidates(world, engine.row.spec.device)
    )


def _fit(world: World, engine: Engine, device: str) -> DeviceFit:
    measured, free = world.devices[device].status, memory_ledger.free_bytes(world, device)
    plans = memory_demand.plans_for(memory_demand.kind_of(device))
    found = (memory_ledger.reservation_within(world, engine, device, plan, free) for plan in plans)
    place = next((one for one in found if one is not None), None)
    need = None if place is None else place.need
    return DeviceFit(
        device=device,
        name=measured.name,
        total_bytes=measured.total_bytes,
        promised_bytes=memory_ledger.promised_bytes(world, device),
        free_bytes=free,
        needed_bytes=_least_bytes(world, engine, device),
        fits=need is not None,
        plan=None if need is None else need.plan,
        images=None if need is None else need.batch_size,
        taken_bytes=None if need is None else need.bytes,
    )


def size(size_bytes: int) -> str:
    """A size for a person, in decimal units, as memory is sold and as GPU vendors' tools show it."""
    if size_bytes >= GIGABYTE // 10:
        return f"{size_bytes / GIGABYTE:.1f} GB"
    return f"{size_bytes / MEGABYTE:.0f} MB"


def _last_resort(world: World, device: str, needed_bytes: int) -> str:
    """The advice when nothing that we could do helps."""
    if needed_bytes > memory_ledger.largest_bytes(world, device):
        return "use a smaller model or a larger device"
    return f"close other programs that use memory on {device}, or use a smaller model"


def _too_many(world: World) -> NotEnoughMemory:
    running = [
        e.row.name or e.row.engine_id for e in world.engines.values() if e.is_running and e.pool is None
    ]
    return NotEnoughMemory(
        f"{len(running)} engines are running, which is the maximum (engines.max_running): "
        f"stop one of {', '.join(running)} first, or raise the limit"
    )


def _least_bytes(world: World, engine: Engine, device: str) -> int:
    """The engine's need in bytes under the most frugal plan, one image at a time."""
    kind = memory_demand.kind_of(device)
    return min(memory_ledger.needs(world, engine, kind, plan)[0] for plan in memory_demand.plans_for(kind))


def _remedies(world: World, engine: Engine, device: str, missing_bytes: int) -> Iterator[Remedy]:
    yield from _stops(world, device, missing_bytes)
    kind, free = memory_demand.kind_of(device), memory_ledger.free_bytes(world, device)
    demand = memory_demand.demand_of(engine.row, world.models, world.limits.compilation)
    if (smaller := _smaller(demand, kind, free)) is not None:
        sides = f"{smaller.width_px} x {smaller.height_px}"
        yield Remedy(what=MemoryRemedy.SMALLER_SIZE, text=f"reduce the image size to {sides} pixels")
    halved = replace(demand, dtype=Variant.BF16)
    is_single = demand.dtype is Variant.FP32 or (demand.dtype is None and kind == memory_demand.CPU)
    if is_single and _least(halved, kind) <= free:
        yield Remedy(what=MemoryRemedy.OTHER_DTYPE, text="set dtype to bf16")
    for other in world.devices:
        if other != device and _least(demand, memory_demand.kind_of(other)) <= memory_ledger.free_bytes(
            world, other
        ):
            yield Remedy(what=MemoryRemedy.OTHER_DEVICE, text=f"run it on {other}")


def _stops(world: World, device: str, missing_bytes: int) -> Iterator[Remedy]:
    """Each engine that frees enough on its own; or all of them, if only together they do."""
    held = [
        (memory_ledger.reserved_bytes(world, e, device), e) for e in world.engines.values() if e.is_running
    ]
    held = sorted(((freed, e) for freed, e in held if freed > 0), key=lambda pair: pair[0])
    enough = [(freed, e) for freed, e in held if freed >= missing_bytes]
    if not enough and sum(freed for freed, _ in held) < missing_bytes:
        return
    for freed, engine in enough or held:
        name = engine.row.name or engine.row.engine_id
        yield Remedy(
            what=MemoryRemedy.STOP_ENGINE,
            text=f"stop engine {name} to free {size(freed)}" + ("" if enough else " (not enough on its own)"),
            engine_id=engine.row.engine_id,
            frees_bytes=freed,
        )


def _smaller(
    demand: memory_demand.MemoryDemand, kind: str, free_bytes: int
) -> memory_demand.MemoryDemand | None:
    """The demand with the largest image of about the same aspect ratio that fits; None, if no size does."""
    longer = max(demand.width_px, demand.height_px)
    for side in range(longer - SIZE_STEP_PX, LEAST_SIDE_PX - 1, -SIZE_STEP_PX):
        sides = (max(_stepped(px * side // longer), LEAST_SIDE_PX) for px in _sides(demand))
        width_px, height_px = sides
        smaller = replace(demand, width_px=width_px, height_px=height_px)
        if _least(smaller, kind) <= free_bytes:
            return smaller
    return None


def _sides(demand: memory_demand.MemoryDemand) -> tuple[int, int]:
    return demand.width_px, demand.height_px


def _stepped(px: int) -> int:
    return px // SIZE_STEP_PX * SIZE_STEP_PX


def _least(demand: memory_demand.MemoryDemand, kind: str) -> int:
    return min(memory_demand.need_bytes(demand, kind, plan, 1) for plan in memory_demand.plans_for(kind))
