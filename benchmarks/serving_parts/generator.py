"""The load generator's own process: prebuilt bytes, kept connections, one loop over epoll.

    python benchmarks/serving_parts/generator.py open PORT REQUEST-FILE --rate 100 --seconds 8

What it does for a request is one send and one or two receives, so that it is not what is measured.
A request's time starts when it was due, so a server that stalls cannot hide it. One line of JSON
comes out: status, seconds and due time of each request, and how late each was sent.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import select
import socket
import time
from pathlib import Path

_OPENED = 64
_READ_BYTES = 1 << 16
# Within this time of the next request the loop does not sleep: epoll wakes to the millisecond.
_AWAKE_S = 0.002
_GIVEN_UP_S = 20.0
_CONNECTION_LOST = 0
_REFUSED = (429, 503)


class Connection:
    """One kept connection with one request under way at most.

    Args:
        port: Of the server.
        request: The bytes of the request.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._request = memoryview(request)
        self._sent, self._got = len(request), b""
        self.due = 0.0

    def ask(self, due: float) -> bool:
        """Begin to send the request; tell whether all of it went out."""
        self.due, self._sent, self._got = due, 0, b""
        return self.go_on()

    def go_on(self) -> bool:
        """Send what is left; tell whether all of it went out."""
        try:
            self._sent += self.socket.send(self._request[self._sent :])
        except BlockingIOError:
            return False
        except OSError:
            return True  # the answer, or its lack, says why
        return self._sent == len(self._request)

    def answer(self) -> tuple[int, bool] | None:
        """Read what came: status and whether the connection stays; None while more will come."""
        try:
            part = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return _CONNECTION_LOST, False
        if not part:
            return _CONNECTION_LOST, False
        self._got += part
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return None
        low = head.lower()
        _, _, rest = low.partition(b"content-length:")
        if len(body) < int(rest.split(b"\r\n", 1)[0] or 0):
            return None
        stays = b"connection: close" not in low and self._sent == len(self._request)
        return int(head[9:12]), stays


class Generator:
    """Connections to one server, and what became of the requests.

    Args:
        port: Of the server.
        request: Sent again and again.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._epoll = select.epoll()
        self._by_number: dict[int, Connection] = {}
        self.idle: list[Connection] = []
        self.under_way = 0
        self.started = time.perf_counter()
        self.answers: list[tuple[int, float, float]] = []
        self.late: list[float] = []

    def open(self, count: int) -> None:
        """Open connections beforehand, as clients have that stay connected."""
        self.idle += [self._opened() for _ in range(count)]

    def _opened(self) -> Connection:
        one = Connection(self._port, self._request)
        number = one.socket.fileno()
        self._by_number[number] = one
        self._epoll.register(number, select.EPOLLIN)
        return one

    def ask(self, due: float) -> None:
        """Send one request over an idle connection, or a new one."""
        one = self.idle.pop() if self.idle else self._opened()
        self.under_way += 1
        if not one.ask(due):
            self._epoll.modify(one.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        self.late.append(time.perf_counter() - due)

    def turn(self, wait_s: float) -> list[int]:
        """Wait for answers for some time; give the statuses of those that came."""
        came = []
        for number, what in self._epoll.poll(max(0.0, wait_s)):
            one = self._by_number[number]
            if what & select.EPOLLOUT and one.go_on():
                self._epoll.modify(number, select.EPOLLIN)
            if what & ~select.EPOLLOUT and (found := one.answer()) is not None:
                came.append(self._done(one, *found))
        return came

    def _done(self, one: Connection, status: int, stays: bool) -> int:
        if not one.due:  # a kept connection that nobody used was closed
            self.idle.remove(one)
        else:
            now = time.perf_counter()
            self.answers.append((status, now - one.due, one.due - self.started))
            self.under_way -= 1
            one.due = 0.0
        if stays:
            self.idle.append(one)
        else:
            del self._by_number[one.socket.fileno()]
            self._epoll.unregister(one.socket)
            one.socket.close()
        return status

    def finish(self) -> None:
        """Wait for the answers that are still to come."""
        until = time.perf_counter() + _GIVEN_UP_S
        while self.under_way and time.perf_counter() < until:
            self.turn(0.1)
        self.answers += [(_CONNECTION_LOST, _GIVEN_UP_S, 0.0)] * self.under_way


def open_loop(generator: Generator, rate: float, seconds: float) -> None:
    """Send at a constant rate, whatever comes back."""
    generator.open(_OPENED)
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        while (left := due - time.perf_counter()) > 0:
            generator.turn(left - _AWAKE_S)
        generator.ask(due)
    generator.finish()


def closed_loop(generator: Generator, callers: int, seconds: float) -> None:
    """Let some callers ask one after another: the most that the server gives.

    Who is refused comes back after a second, as `Retry-After` says.
    """
    until = time.perf_counter() + seconds
    pauses: list[float] = []
    for _ in range(callers):
        generator.ask(time.perf_counter())
    while (now := time.perf_counter()) < until:
        back = [at for at in pauses if at <= now]
        pauses = [at for at in pauses if at > now]
        for _ in back:
            generator.ask(time.perf_counter())
        for status in generator.turn(min([0.05, *(at - now for at in pauses)])):
            if status in _REFUSED:
                pauses.append(time.perf_counter() + 1.0)
            else:
                generator.ask(time.perf_counter())
    generator.finish()


def main() -> None:
    """Generate load and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("open", "closed"))
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--callers", type=float, default=4)
    parser.add_argument("--cores", type=int, nargs="+", default=[])
    given = parser.parse_args()
    if given.cores:
        os.sched_setaffinity(0, given.cores)
    gc.disable()
    # A server that stalls is sent more and more connections, as the world would.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    generator = Generator(given.port, given.request.read_bytes())
    started, spent = time.perf_counter(), time.process_time()
    if given.kind == "open":
        open_loop(generator, given.rate, given.seconds)
    else:
        closed_loop(generator, int(given.callers), given.seconds)
    found = {
        "answers": generator.answers,
        "seconds": time.perf_counter() - started,
        "late": generator.late,
        "spent_s": time.process_time() - spent,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
