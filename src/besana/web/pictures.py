"""Pictures for the pages, made in child processes: decoded, shrunk, encoded anew, never passed on.

The server reads the bytes; a child without network or rights to gain decodes them within bounds
of memory and time, and answers with a JPEG that holds nothing but pixels. What kills a child costs
that one picture.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing import connection as mp
from typing import Any

from besana.errors import CorruptDataError

_WALL_S = 20.0
_CACHE_BYTES = 64 << 20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PictureMaker:
    """Makes pictures in child processes and keeps the last ones; safe to use from threads.

    Args:
        children: How many pictures are made at a time.
    """

    def __init__(self, children: int = 2) -> None:
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._children = [_Child() for _ in range(children)]
        for child in self._children:
            self._idle.put(child)
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the children."""
        for child in self._children:
            child.close()

    def make(
        self, request: dict[str, Any], read: Callable[[], list[bytes]], *, keep: bool = True
    ) -> bytes:
        """Make one picture.

        Args:
            request: As `picture_child` understands it; names the picture.
            read: Reads the files that it is made of, if it is not there already.
            keep: Whether it is likely to be asked for again.

        Returns:
            A JPEG without metadata.

        Raises:
            CorruptDataError: If it cannot be made.
        """
        key = json.dumps(request, sort_keys=True)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        files = read()
        child = self._idle.get()
        try:
            picture = child.ask(key.encode(), files)
        finally:
            self._idle.put(child)
        if keep:
            self._keep(key, picture)
        return picture

    def _keep(self, key: str, picture: bytes) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = picture
                self._kept_bytes += len(picture)
            while self._kept_bytes > _CACHE_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])


class _Child:
    """One child process, started when first needed and again after its death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: mp.Connection | None = None

    def ask(self, request: bytes, files: list[bytes]) -> bytes:
        connection = self._connection or self._start()
        try:
            for part in (request, *files):
                connection.send_bytes(part)
            answer = connection.recv_bytes() if connection.poll(_WALL_S) else b""
        except (EOFError, OSError):
            answer = b""
        if not answer:
            self.close()
            raise CorruptDataError("The picture took too long or ended its process.")
        if answer[:1] == b"!":
            raise CorruptDataError(answer[1:].decode())
        return answer[1:]

    def _start(self) -> mp.Connection:
        ours, theirs = socket.socketpair()
        environment = {**dict.fromkeys(_THREADS, "1"), **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "besana.web.picture_child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._connection = mp.Connection(ours.detach())
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None
