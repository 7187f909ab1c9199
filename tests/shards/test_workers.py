"""Threads, memory limits and the ring: what the loader stands on."""

import gc
import os
import threading
import time

import numpy as np
import pytest

from besana.shards.memory import allowed_bytes, default_budget_bytes, usable_processors
from besana.shards.ring import Ring
from besana.shards.workers import Workers


def test_calls_run_in_order_and_give_their_results() -> None:
    seen: list[int] = []

    def double(number: int) -> int:
        seen.append(number)
        return 2 * number

    workers = Workers(1, "test")
    futures = [workers.submit(double, number) for number in range(20)]

    assert [future.result() for future in futures] == list(range(0, 40, 2))
    assert seen == list(range(20))
    assert workers.close()


def test_an_exception_is_raised_where_the_result_is_asked_for() -> None:
    workers = Workers(2, "test")
    future = workers.submit(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        future.result()
    assert workers.submit(int, "3").result() == 3
    assert workers.close()


def test_cancelled_calls_do_not_run_and_close_waits_for_the_running_one() -> None:
    seen: list[int] = []
    workers = Workers(1, "test")
    begun, go_on = threading.Event(), threading.Event()
    first = workers.submit(lambda: (begun.set(), go_on.wait(5), seen.append(0)))
    begun.wait(5)
    others = [workers.submit(seen.append, number) for number in (1, 2)]
    assert all(future.cancel() for future in others)
    threading.Timer(0.2, go_on.set).start()

    assert workers.close()
    assert seen == [0]
    assert first.done()


@pytest.mark.slow
def test_a_stuck_thread_does_not_hold_up_close_for_ever() -> None:
    workers = Workers(1, "test")
    workers.submit(time.sleep, 20)
    started = time.monotonic()

    assert not workers.close()
    assert time.monotonic() - started < 10


def test_a_worker_holds_no_result_while_it_waits() -> None:
    workers = Workers(1, "test")
    array = np.zeros(10)
    before = len(gc.get_referrers(array))
    workers.submit(lambda: array.sum()).result()
    workers.submit(int, "1").result()

    assert len(gc.get_referrers(array)) <= before + 1
    assert workers.close()


def test_limits_are_within_the_machine() -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert 0 < allowed_bytes() <= machine
    assert 0 < default_budget_bytes() <= 2 << 30
    assert default_budget_bytes() <= allowed_bytes() // 4
    assert 1 <= usable_processors() <= (os.cpu_count() or 1)


def test_a_ring_lends_each_slot_once_and_takes_it_back() -> None:
    ring = Ring(2, (3, 4, 4, 3), np.uint8)
    first, second = ring.lend(), ring.lend()
    assert first is not None
    assert second is not None
    assert not np.shares_memory(first, second)
    assert ring.lend() is None
    view = first[1:, ::2]
    del first
    assert ring.lend() is None
    del view
    again = ring.lend()

    assert again is not None
    assert again.shape == (3, 4, 4, 3)
    assert again.flags.c_contiguous
    assert again.flags.writeable
    assert ring.lend() is None


def test_a_tensor_keeps_its_slot() -> None:
    torch = pytest.importorskip("torch")
    ring = Ring(1, (2, 2), np.uint8)
    tensor = torch.from_numpy(ring.lend())
    assert ring.lend() is None
    del tensor

    assert ring.lend() is not None
