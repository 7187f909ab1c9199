"""Decoders: small pictures go together, and nobody pays for another one's death."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from dying_child import FATAL, SLOW, SLOW_S
from servers import wait_for

from besana.engines.child import packed, unpacked
from besana.errors import CorruptDataError
from besana.images.camera import Camera
from besana.images.encode import encode_jpeg, encode_png
from besana.images.guard import Bounds
from besana.serving.decoders import DecodeJob, Decoders, How
from besana.serving.errors import TooLateError
from besana.serving.handing import result, together, under_way
from besana.serving.pictures import Wanted
from besana.serving.turns import Turns


@pytest.fixture(scope="module")
def decoders():
    found = Decoders(1, 100, Turns(1, patience_s=60), module="dying_child")
    yield found
    found.close()


HOW = How(Camera(name="camera"), Wanted(24, 24, 3), Bounds(decode_memory_bytes=64_000_000), False)


def job(data):
    return DecodeJob({"rgb": data}, HOW)


def picture(shade):
    return encode_jpeg(np.full((24, 24, 3), shade, np.uint8), 95)


def means_of(frames):
    return [float(images.mean()) for images in frames]


def test_pictures_that_wait_together_are_decoded_each_by_itself(decoders):
    until = time.monotonic() + 60
    answers = [decoders.submit(job(picture(shade)), until, means_of) for shade in range(0, 250, 10)]
    found = [one.result(60)[1] for one in answers]
    assert found == pytest.approx(list(range(0, 250, 10)), abs=2)


def test_picture_that_ends_its_decoder_costs_no_other_one(decoders):
    until = time.monotonic() + 60
    files = [picture(100), picture(110), FATAL, picture(120), b"no picture", picture(130)]
    answers = [decoders.submit(job(data), until, means_of) for data in files]
    reasons = [getattr(one.exception(60), "reason", None) for one in answers]
    assert reasons == [None, None, "decoder_died", None, "not_an_image", None]
    assert isinstance(answers[2].exception(), CorruptDataError)


def test_picture_that_wants_too_much_memory_costs_no_other_one(decoders):
    bomb = encode_png(np.zeros((6300, 6300, 1), np.uint8), 9)  # 119 MB as colours
    assert len(bomb) < 1 << 16
    until = time.monotonic() + 60
    files = [picture(100), picture(110), bomb, picture(120), picture(130)]
    answers = [decoders.submit(job(data), until, means_of) for data in files]
    reasons = [getattr(one.exception(60), "reason", None) for one in answers]
    assert reasons == [None, None, "decoder_died", None, None]


def test_pictures_that_were_decoded_together_are_judged_together_by_the_same_model(decoders):
    judged = []

    class Model:
        def judge(self, frames):
            judged.append((self, len(frames)))
            return means_of(frames)

    models, until = (Model(), Model()), time.monotonic() + 60
    turns = decoders._turns
    with turns.taken():  # all of them wait
        answers = [
            decoders.submit(job(picture(shade)), until, models[shade > 90].judge)
            for shade in (40, 60, 80, 100, 120)
        ]
        late = decoders.submit(job(picture(140)), time.monotonic(), models[1].judge)
    assert [one.result(60)[1] for one in answers] == pytest.approx([40, 60, 80, 100, 120], abs=2)
    assert isinstance(late.exception(60), TooLateError)
    assert judged == [(models[0], 3), (models[1], 2)]


def test_what_nobody_wants_any_more_once_it_is_decoded_is_not_judged(decoders):
    wanted_until, judged = time.monotonic() + SLOW_S / 2, []
    answers = [decoders.submit(job(data), wanted_until, judged.append) for data in (SLOW, SLOW)]
    assert [type(one.exception(60)) for one in answers] == [TooLateError] * 2
    assert not judged


def test_of_larger_pictures_half_of_those_that_wait_are_taken(decoders):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    large = encode_jpeg(noise, 95)
    assert len(large) > 1 << 16
    judged, until = [], time.monotonic() + 60

    def count(frames):
        judged.append(len(frames))
        return means_of(frames)

    with decoders._turns.taken():
        answers = [decoders.submit(job(large), until, count) for _ in range(6)]
        wait_for(lambda: decoders.waiting <= 5)
    assert [one.result(60)[1] for one in answers] == pytest.approx([127.5] * 6, abs=3)
    assert judged == [3, 2, 1]


def test_what_cannot_be_judged_is_heard_of(decoders):
    def refuse(_frames):
        raise CorruptDataError("No.", "Never.", "refused_here")

    answer = decoders.submit(job(picture(50)), time.monotonic() + 60, refuse)
    assert answer.exception(60).reason == "refused_here"


@pytest.mark.parametrize("parts", [[], [b""], [b"a", b"", b"bcd"]])
def test_packed_parts_come_back(parts):
    assert unpacked(packed(parts)) == parts


@pytest.mark.parametrize(
    "message",
    [b"", b"\xff" * 8, packed([b"abc"])[:-1], packed([b"abc"]) + b"d", (1 << 62).to_bytes(8) * 3],
)
def test_message_whose_lengths_do_not_add_up_is_refused(message):
    with pytest.raises(ValueError, match="A message of"):
        unpacked(message)


def test_a_batch_of_answers_wakes_the_loop_once():
    futures = [under_way() for _ in range(3)]

    async def wait():
        loop = asyncio.get_running_loop()
        woken = []
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *given: (woken.append(1), wake(*given))
        waiting = asyncio.gather(*(result(one) for one in futures), return_exceptions=True)
        await asyncio.sleep(0)

        def answer():
            with together():
                futures[0].set_result("first")
                futures[1].set_exception(ZeroDivisionError())
                futures[2].set_result("third")

        await loop.run_in_executor(None, answer)
        return await waiting, len(woken)

    # The browser of other tests keeps a loop running in this thread.
    with ThreadPoolExecutor(1) as aside:
        (first, second, third), woken = aside.submit(asyncio.run, wait()).result()
    assert (first, third) == ("first", "third")
    assert isinstance(second, ZeroDivisionError)
    assert woken == 2  # one for the answers, one for the thread that gave them


def test_who_waits_cannot_cancel_what_will_be_answered():
    future = under_way()
    assert not future.cancel()
    future.set_result(1)
    assert future.result() == 1
