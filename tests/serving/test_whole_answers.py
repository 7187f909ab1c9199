"""How answers leave: the head with its body, and nothing that waits is lost."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from besana.web.patient import Whole


class Wire(asyncio.Transport):
    """Notes what would be sent, and in what order."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def write(self, data):
        self.sent.append(bytes(data))

    def close(self):
        self.sent.append("closed")

    def abort(self):
        self.sent.append("aborted")


def sent(write):
    """Let something write to a connection, and give what went out when the loop had turned."""

    async def run():
        wire = Wire()
        write(Whole(wire, asyncio.get_running_loop()), wire)
        await asyncio.sleep(0)
        return wire.sent

    # A browser of another test may have left its own loop running in this thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def test_head_and_body_go_out_together():
    def write(whole, wire):
        whole.write(b"head ")
        whole.write(b"body")
        assert wire.sent == []

    assert sent(write) == [b"head body"]


def test_an_answer_that_is_whole_does_not_wait_for_the_loop():
    def write(whole, wire):
        whole.write(b"head ")
        whole.write(b"body")
        whole.send()
        assert wire.sent == [b"head body"]

    assert sent(write) == [b"head body"]


def test_a_long_answer_is_not_gathered():
    part = bytes(20_000)

    def write(whole, wire):
        for _ in range(4):
            whole.write(part)
        assert [len(one) for one in wire.sent] == [40_000, 40_000]

    sent(write)


@pytest.mark.parametrize(("how", "left"), [("close", [b"last words"]), ("abort", [])])
def test_closing_sends_what_waits_and_breaking_off_does_not(how, left):
    def write(whole, _wire):
        whole.write(b"last words")
        getattr(whole, how)()

    assert sent(write) == [*left, "closed" if how == "close" else "aborted"]
