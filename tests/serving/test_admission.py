"""What is let in, by a clock that the test turns: one judge, one request after another."""

import heapq
import itertools

import pytest

from besana.serving.admission import CALM_S, Admission

EACH_S, RETRY_S = 0.018, 1.0


class Judge:
    """A server with one core: answers in the order of coming, `each_s` a picture."""

    def __init__(self, each_s=EACH_S, pictures=1, **options):
        given = {"most": 32, "requests": 2, "burst_s": 0.25, "each_s": 0.003, **options}
        self.now = 0.0
        self.admission = Admission(**given, clock=lambda: self.now)
        self.each_s, self.pictures = each_s, pictures
        self.free_at = 0.0
        self._events, self._order = [], itertools.count()
        self.times, self.refused = [], []

    def send(self, at, patient=False):
        self._push(at, "comes", at, patient)

    def run(self):
        while self._events:
            self.now, _, what, since, patient = heapq.heappop(self._events)
            if what == "goes":
                self.admission.give_back(self.pictures)
                self.times.append((since, self.now - since))
            elif not self.admission.refuses(0) and self.admission.take(self.pictures):
                self.free_at = max(self.now, self.free_at) + self.each_s * self.pictures
                self._push(self.free_at, "goes", since, patient)
            else:
                self.refused.append(self.now)
                if patient:
                    self._push(self.now + RETRY_S, "comes", since, patient)

    def _push(self, at, what, since, patient):
        heapq.heappush(self._events, (at, next(self._order), what, since, patient))


def usual(judge, count=100):
    """Let it answer some requests that come one at a time; forget them."""
    for number in range(count):
        judge.send(number * 2 * judge.each_s * judge.pictures)
    judge.run()
    assert not judge.refused
    judge.times = []
    return judge.now + 1


@pytest.mark.parametrize(("each_s", "pictures"), [(0.018, 1), (0.0023, 16)])
def test_in_an_overload_answers_take_a_quarter_longer_than_usual(each_s, pictures):
    judge = Judge(each_s, pictures)
    begin, one_s = usual(judge), each_s * pictures
    for number in range(5000):
        judge.send(begin + number * one_s / 5)
    judge.run()
    later = sorted(took for since, took in judge.times if since > begin + 1)
    assert later[-1] <= max(1.25 * one_s, 0.014) + 1e-9
    assert len(judge.times) * one_s > 0.95 * (judge.now - begin)  # the judge hardly waits


def test_in_an_overload_a_few_small_pictures_come_together():
    judge = Judge(each_s=0.003, requests=4)
    begin = usual(judge)
    for number in range(5000):
        judge.send(begin + number * 0.003 / 5)
    judge.run()
    later = sorted(took for since, took in judge.times if since > begin + 1)
    assert 3 * 0.003 < later[len(later) // 2] <= later[-1] <= 5 * 0.003


def test_a_burst_waits_as_long_as_the_setting_says():
    judge = Judge()
    begin = usual(judge)
    for number in range(32):
        judge.send(begin + number * 1e-4)
    judge.run()
    assert max(took for _, took in judge.times) <= 0.25 + 2 * EACH_S
    assert 12 <= len(judge.times) <= 16


@pytest.mark.parametrize("cameras", [20, 32, 100])
def test_cameras_that_send_together_and_come_back_are_all_served(cameras):
    judge = Judge()
    begin = usual(judge)
    for number in range(cameras):
        judge.send(begin + number * 1e-4, patient=True)
    judge.run()
    assert len(judge.times) == cameras
    # Each second takes a burst; nobody is told to come back for ever.
    assert judge.now - begin < 2 + cameras / 12


def test_a_burst_of_small_pictures_waits_as_a_whole():
    judge = Judge(each_s=0.003)
    begin = usual(judge)
    for _ in range(32):
        judge.send(begin)
    judge.run()
    assert not judge.refused
    assert len(judge.times) == 32


def test_who_was_refused_comes_back_to_a_calm_server():
    assert CALM_S < RETRY_S
    now = [10.0]
    admission = Admission(most=2, requests=2, burst_s=1, each_s=0.1, clock=lambda: now[0])
    assert admission.take(2)
    assert not admission.take(1)
    assert admission.is_pressed
    now[0] += CALM_S + 0.01
    assert not admission.is_pressed


def test_callers_who_send_no_more_than_is_judged_are_not_refused_for_long():
    judge = Judge(each_s=0.003, requests=3)
    begin = usual(judge)
    for _ in range(100):  # after a moment without answers
        judge.send(begin)
    for number in range(1000):  # four at a time, at 70 % of what it can
        judge.send(begin + 0.001 + number // 4 * 4 * 0.003 / 0.7)
    judge.run()
    assert judge.refused
    assert judge.refused[-1] < begin + 2.1 * CALM_S < judge.now


def test_one_slow_answer_refuses_nobody_after_it():
    judge = Judge(each_s=0.003)
    judge.free_at = 2.0  # as the first picture waits for a decoder's imports
    judge.send(0.0)
    for number in range(32):
        judge.send(2.1 + number * 1e-4)
    judge.run()
    assert not judge.refused


def test_a_server_that_stalls_lets_few_in():
    now = [10.0]
    admission = Admission(most=32, requests=2, burst_s=0.25, each_s=0.01, clock=lambda: now[0])
    taken = 0
    for _ in range(1000):
        taken += admission.take(1)
        now[0] += 0.01
    assert taken <= 32
    assert not admission.take(1)


def test_a_request_larger_than_what_may_wait_is_judged_alone():
    admission = Admission(most=20, requests=2, burst_s=1, each_s=0.01, clock=lambda: 10.0)
    assert admission.take(64)
    assert not admission.take(1)
    assert admission.refuses(0)
    admission.give_back(64)
    assert not admission.refuses(0)


def test_requests_that_are_still_read_count():
    admission = Admission(most=20, requests=2, burst_s=1, each_s=0.01, clock=lambda: 10.0)
    assert not admission.refuses(19)
    assert admission.refuses(20)
