"""For any course of requests, readings and exits: rate, bounds and turns hold, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from kernel.core.events import WantedPart
from kernel.core.state.part_queue import BURST_S, MOST_ASKED, MOST_READ, PART_BYTES, PartQueue
from kernel.protocol.ids import ModelId, WorkerId

RATE = 10 * PART_BYTES
WORKERS = 3

steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, WORKERS - 1), st.integers(0, 30)),
        st.tuples(st.just("read"), st.just(0), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 40)),
        st.tuples(st.just("exit"), st.integers(0, WORKERS - 1), st.just(0)),
    ),
    max_size=120,
)


def wanted(worker: int, number: int) -> WantedPart:
    return WantedPart(
        WorkerId(f"w{worker}"), ModelId("m"), "a" * 64, "model.safetensors", number * PART_BYTES, PART_BYTES
    )


@given(steps)
def test_parts_are_sent_at_the_rate_in_turns_and_none_is_lost(course: list[tuple[str, int, int]]) -> None:
    queue, now_s, taken_bytes, reading = PartQueue(), 100.0, 0, 0
    asked: dict[WorkerId, list[WantedPart]] = {}
    overtook: dict[WorkerId, set[WorkerId]] = {}
    """The workers that were served since one began to wait."""
    for what, worker, number in course:
        before = queue.changes
        match what:
            case "ask":
                part = wanted(worker, number)
                mine = asked.setdefault(part.worker_id, [])
                if part not in mine and len(mine) < MOST_ASKED:
                    mine.append(part)
                    overtook.setdefault(part.worker_id, set())
                queue.ask(part)
            case "read" if reading:
                queue.end_reading()
                reading -= 1
            case "pass":
                now_s += number / 100
            case "exit":
                queue.forget(WorkerId(f"w{worker}"))
                asked.pop(WorkerId(f"w{worker}"), None)
                overtook.pop(WorkerId(f"w{worker}"), None)
            case _:
                pass
        while (found := queue.take(now_s, RATE)) is not None:
            name = found.worker_id
            assert asked[name].pop(0) == found, "in the order in which it asked"
            del overtook[name]
            for served in overtook.values():
                assert name not in served, "the same worker twice while another waits"
                served.add(name)
            if asked[name]:
                overtook[name] = set()
            taken_bytes, reading = taken_bytes + found.size_bytes, reading + 1
            assert queue.changes > before
        assert reading <= MOST_READ
        assert taken_bytes <= RATE * (now_s - 100.0 + BURST_S) + PART_BYTES + 1
        assert sorted(queue, key=str) == sorted((p for parts in asked.values() for p in parts), key=str)
        at_s = queue.look_again_at_s()
        assert at_s is None or at_s > now_s
        assert (at_s is None) == (len(queue) == 0 or reading == MOST_READ)
    for _ in range(10_000):  # time passes, and everything is read
        now_s += 0.1
        while reading:
            queue.end_reading()
            reading -= 1
        if (found := queue.take(now_s, RATE)) is not None:
            asked[found.worker_id].remove(found)
            reading += 1
        if not any(asked.values()):
            break
    assert len(queue) == 0
