"""A child process that turns bytes into bytes: decodes for a server what strangers send.

It has no network and no way to more rights. What comes back is bytes, never an object: a picture
that takes its decoder over cannot make the server run anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

_START_S = 60.0
# A child that says it will send more than this is not believed.
_MOST_BYTES = 1 << 31
# And gets no memory for what it has not sent.
_PART_BYTES = 1 << 18
_LENGTH_BYTES = 8
# What may be on its way: answers of this size wait for nobody to read their first part.
_BUFFER_BYTES = 1 << 20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# From <malloc.h>, of glibc; and how much of what was freed stays with the process.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_PIECE_BYTES, _KEPT_BYTES = 32 << 20, 64 << 20
# From <linux/prctl.h> and <linux/sched.h>.
_NO_NEW_PRIVILEGES, _NEW_USER, _NEW_NETWORK = 38, 0x10000000, 0x40000000


class Child:
    """One child process, started when first needed and again after its death.

    Args:
        module: Run with `python -m`; calls `answer_parent`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the process now, so that the first question need not wait for it."""
        try:
            if self._socket is None:
                self._start()
        except (EOFError, OSError):
            self.close()

    def ask(self, parts: Sequence[bytes], wall_s: float) -> bytes | None:
        """Send a question and wait for its answer.

        Args:
            parts: The question.
            wall_s: Seconds to wait at most, once the child has started.

        Returns:
            The answer; None if the child took too long or died of it.
        """
        try:
            ours = self._socket or self._start()
            # The child takes a question whole before it thinks, so sending cannot take long.
            ours.settimeout(wall_s)
            _send(ours, packed(parts))
            return _receive(ours, time.monotonic() + wall_s)
        except (EOFError, OSError):
            pass
        self.close()
        return None

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait()
        self._process = self._socket = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        environment = {**dict.fromkeys(_THREADS, "1"), **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._socket = ours
        _receive(ours, time.monotonic() + _START_S)
        return ours


def answer_parent(answer: Callable[[list[bytes]], bytes]) -> None:
    """Answer the questions of the parent until it is gone; for the child's `main`.

    Args:
        answer: Turns the parts of a question into the answer.
    """
    import cv2

    cv2.setNumThreads(1)
    keep_memory()
    # Ctrl-C reaches the whole group; the server decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = socket.socket(fileno=int(sys.argv[1]))
    _give_up_rights()
    with contextlib.suppress(EOFError, OSError):
        _send(parent, b"ready")
        while True:
            _send(parent, answer(unpacked(_receive(parent, None))))


def keep_memory() -> None:
    """Keep what is freed for the next picture, where the C library can.

    Otherwise a few hundred kilobytes come from the kernel anew each time, page by page.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _PIECE_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def packed(parts: Sequence[bytes]) -> bytes:
    """Write parts as one message, so that the child wakes up once."""
    lengths = [len(parts), *map(len, parts)]
    return b"".join([*(number.to_bytes(8) for number in lengths), *parts])


def unpacked(message: bytes) -> list[bytes]:
    """Read what `packed` wrote.

    Raises:
        ValueError: If its lengths do not add up.
    """
    count = int.from_bytes(message[:8])
    at, parts = 8 + 8 * count, []
    if at > len(message):
        raise ValueError(f"A message of {len(message)} bytes says that it has {count} parts.")
    for place in range(8, at, 8):
        length = int.from_bytes(message[place : place + 8])
        parts.append(message[at : at + length])
        at += length
    if at != len(message):
        raise ValueError(f"A message of {len(message)} bytes says that it has {at}.")
    return parts


def _send(there: socket.socket, message: bytes) -> None:
    sent = there.sendmsg([len(message).to_bytes(_LENGTH_BYTES), message])
    if sent < _LENGTH_BYTES + len(message):  # the receiver reads too slowly, or a signal came
        whole = len(message).to_bytes(_LENGTH_BYTES) + message
        there.sendall(memoryview(whole)[sent:])


def _receive(there: socket.socket, until: float | None) -> bytes:
    """Receive one message until some time of `time.monotonic`; None waits for ever.

    Nobody sends a second one before the first is answered, so a small message is one call of the
    kernel: its length comes with it.
    """
    came = _part(there, _PART_BYTES, until)
    while len(came) < _LENGTH_BYTES:
        came += _part(there, _PART_BYTES, until)
    size = int.from_bytes(came[:_LENGTH_BYTES])
    missing = size - len(came) + _LENGTH_BYTES
    if size > _MOST_BYTES or missing < 0:
        raise EOFError
    parts = [came[_LENGTH_BYTES:]]
    while missing:
        parts.append(_part(there, min(missing, _PART_BYTES), until))
        missing -= len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _part(there: socket.socket, most_bytes: int, until: float | None) -> bytes:
    if until is not None:
        there.settimeout(max(0.001, until - time.monotonic()))
    part = there.recv(most_bytes)
    if not part:
        raise EOFError
    return part


def _give_up_rights() -> None:
    """Leave the network and the way to more rights, where the kernel lets a process do so.

    What is loaded later (codecs) comes from files that are readable already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.unshare(_NEW_NETWORK) != 0:
        libc.unshare(_NEW_USER | _NEW_NETWORK)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
