"""The worker's socket under a Manager that does not read, and one that comes late."""

import zmq

from engine_worker.dealer import HIGH_WATER_MARK, WorkerDealer
from kernel.process.dealer import DealerContext
from tests.integration.worker.small_manager import SmallManager


def test_what_a_slow_manager_does_not_read_waits_in_order_and_nothing_is_lost(manager: SmallManager) -> None:
    context: DealerContext = zmq.Context()
    dealer = WorkerDealer(context, manager.ticket())
    count = HIGH_WATER_MARK * 40
    for number in range(count):
        dealer.send([number.to_bytes(4), bytes(1000)])
    numbers: list[int] = []
    while len(numbers) < count:
        dealer.flush()
        assert manager.socket.poll(10_000), f"only {len(numbers)} of {count} came"
        _, number_frame, _ = manager.socket.recv_multipart()
        numbers.append(int.from_bytes(number_frame))
    dealer.close()
    context.term()
    assert numbers == list(range(count))


def test_a_socket_with_unsent_messages_asks_to_be_woken_when_it_takes_more(manager: SmallManager) -> None:
    context: DealerContext = zmq.Context()
    dealer = WorkerDealer(context, manager.ticket())
    poller = zmq.Poller()
    dealer.register(poller)
    assert not dict(poller.poll(0))
    for _ in range(HIGH_WATER_MARK * 40):
        dealer.send([bytes(1000)])
    dealer.flush()
    dealer.register(poller)
    while manager.socket.poll(100):
        manager.socket.recv_multipart()
    assert zmq.POLLOUT in dict(poller.poll(5_000)).values()
    dealer.close()
    context.term()
