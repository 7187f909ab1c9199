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
from collections.abc import Callable, Sequence
from multiprocessing import connection as mp

_START_S = 60.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
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
        self._connection: mp.Connection | None = None

    def ask(self, parts: Sequence[bytes], wall_s: float) -> bytes | None:
        """Send a question and wait for its answer.

        Args:
            parts: The question.
            wall_s: Seconds to wait at most, once the child has started.

        Returns:
            The answer; None if the child took too long or died of it.
        """
        try:
            connection = self._connection or self._start()
            connection.send_bytes(len(parts).to_bytes(4))
            for part in parts:
                connection.send_bytes(part)
            if connection.poll(wall_s):
                return connection.recv_bytes()
        except (EOFError, OSError):
            pass
        self.close()
        return None

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait()
        self._process = self._connection = None

    def _start(self) -> mp.Connection:
        ours, theirs = socket.socketpair()
        environment = {**dict.fromkeys(_THREADS, "1"), **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._connection = mp.Connection(ours.detach())
        if not self._connection.poll(_START_S):
            raise EOFError
        self._connection.recv_bytes()
        return self._connection


def answer_parent(answer: Callable[[list[bytes]], bytes]) -> None:
    """Answer the questions of the parent until it is gone; for the child's `main`.

    Args:
        answer: Turns the parts of a question into the answer.
    """
    import cv2

    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole group; the server decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = mp.Connection(int(sys.argv[1]))
    _give_up_rights()
    with contextlib.suppress(EOFError, OSError):
        connection.send_bytes(b"ready")
        while True:
            count = int.from_bytes(connection.recv_bytes())
            connection.send_bytes(answer([connection.recv_bytes() for _ in range(count)]))


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
