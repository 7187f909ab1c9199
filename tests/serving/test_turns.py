"""Turns: as many compute as there are cores, in the order of coming; a slow one loses its turn."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import wait_for

from besana.serving.calm import PAUSE_S, calm_loop
from besana.serving.turns import Turns


def test_turns_are_given_one_at_a_time_in_the_order_of_coming():
    turns, order, at_once = Turns(1, patience_s=60), [], []

    def work(number):
        with turns.taken():
            at_once.append(turns.all_taken)
            order.append(number)

    with turns.taken():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for number, thread in enumerate(threads):
            thread.start()
            wait_for(lambda: len(turns._waiting) == number + 1)  # noqa: B023  # asked at once
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert at_once == [True] * 5
    assert not turns.all_taken


def test_whoever_waited_long_takes_the_turn_over():
    turns = Turns(1)
    with turns.taken():
        with turns.taken():
            assert turns.all_taken
        assert not turns.all_taken  # who is slow lost it, and holds nobody up any more
        with turns.taken():
            assert turns.all_taken
    assert not turns.all_taken


def test_as_many_turns_as_cores():
    turns = Turns(2)
    with turns.taken():
        assert not turns.all_taken
        with pytest.raises(ZeroDivisionError), turns.taken():
            raise ZeroDivisionError
        assert not turns.all_taken


def test_a_calm_loop_hears_threads_at_once_and_the_network_soon():
    turns = Turns(1)

    async def ask():
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line)
            writer.close()
            await writer.wait_closed()
            gone.set()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for number in range(20):
            assert await loop.run_in_executor(None, lambda: True)
            writer.write(b"%d\n" % number)
            assert await reader.readline() == b"%d\n" % number
        before = time.monotonic()
        await asyncio.sleep(2 * PAUSE_S)
        slept_s = time.monotonic() - before
        writer.close()
        await gone.wait()
        server.close()
        return slept_s

    def run():
        with asyncio.Runner(loop_factory=lambda: calm_loop(turns)) as runner:
            return runner.run(ask())

    # The browser of other tests keeps a loop running in this thread.
    with ThreadPoolExecutor(1) as aside:
        assert aside.submit(run).result() >= 2 * PAUSE_S
        with turns.taken():
            assert aside.submit(run).result() >= 2 * PAUSE_S
