"""Reads at once: as many as the link gains from, never fewer than three nor more than sixteen."""

import threading
import time

from besana.shards.gate import Gate


def settle(gate: Gate, latency_s: float, read_s: float, reads: int = 300) -> int:
    """Feed a gate with reads on a link that carries one at a time for `read_s` each."""
    for _ in range(reads):
        gate.learn(1 << 20, max(latency_s + read_s, gate.limit * read_s), gate.limit)
    return gate.limit


def test_a_slow_link_gets_few_reads_and_a_distant_one_many() -> None:
    assert settle(Gate(), latency_s=0.05, read_s=0.08) <= 5
    assert settle(Gate(), latency_s=0.05, read_s=0.0005) == 16
    assert 5 <= settle(Gate(), latency_s=0.05, read_s=0.01) <= 10


def test_the_link_is_always_full() -> None:
    for latency_s, read_s in [(0.05, 0.08), (0.05, 0.01), (0.2, 0.05), (0.01, 0.1)]:
        limit = settle(Gate(), latency_s, read_s)
        assert limit == 16 or limit * read_s >= latency_s + read_s


def test_sizes_are_not_compared_with_each_other() -> None:
    gate = Gate()
    for _ in range(50):
        gate.learn(1000, 0.01, gate.limit)
    for _ in range(50):
        gate.learn(1 << 21, 0.2, gate.limit)

    assert gate.limit == 16


def test_no_more_pass_than_may_and_none_is_forgotten() -> None:
    gate = Gate()
    passing, most, done = 0, 0, 0
    lock = threading.Lock()

    def read() -> None:
        nonlocal passing, most, done
        for _ in range(10):
            with gate.read(100):
                with lock:
                    passing += 1
                    most = max(most, passing)
                time.sleep(0.001)
                with lock:
                    passing -= 1
                    done += 1

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert done == 200
    assert most <= 16
