"""Hand answers from threads to whoever waits in an event loop: a batch of them wakes it once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_Waiting = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", "Future[Any]"]


class _Held(threading.local):
    answers: list[_Waiting] | None = None


_HELD = _Held()


def under_way() -> Future[Any]:
    """Make a future that whoever waits for it cannot cancel, since somebody will answer it."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


async def result(future: Future[T]) -> T:
    """Wait in an event loop for what a thread finds out."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()

    def done(answered: Future[T]) -> None:
        if _HELD.answers is None:
            _wake(loop, [(loop, waiting, answered)])
        else:
            _HELD.answers.append((loop, waiting, answered))

    future.add_done_callback(done)
    return await waiting


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Hand over what this thread answers inside the block at its end, at once.

    Each single answer would wake the loop, which takes the core from the thread that has more.
    """
    held: list[_Waiting] = []
    _HELD.answers = held
    try:
        yield
    finally:
        _HELD.answers = None
        for loop in {id(one[0]): one[0] for one in held}.values():
            _wake(loop, [one for one in held if one[0] is loop])


def _wake(loop: asyncio.AbstractEventLoop, answers: list[_Waiting]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_give, answers)


def _give(answers: list[_Waiting]) -> None:
    for _, waiting, answered in answers:
        if waiting.done():  # whoever waited has gone
            continue
        if (error := answered.exception()) is not None:
            waiting.set_exception(error)
        else:
            waiting.set_result(answered.result())
