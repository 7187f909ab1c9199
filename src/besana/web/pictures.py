"""Pictures for the pages, made in child processes: decoded, shrunk, encoded anew, never passed on.

The server reads the bytes; a child without network or rights to gain decodes them within bounds
of memory and time, and answers with a JPEG that holds nothing but pixels. What kills a child costs
that one picture.
"""

from __future__ import annotations

import json
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from besana.engines.child import Child
from besana.errors import CorruptDataError

_WALL_S = 20.0
_CACHE_BYTES = 16 << 20


class PictureMaker:
    """Makes pictures in child processes and keeps the last ones; safe to use from threads.

    Args:
        children: How many pictures are made at a time.
    """

    def __init__(self, children: int = 2) -> None:
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        self._children = [Child("besana.web.picture_child") for _ in range(children)]
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
            answer = child.ask([key.encode(), *files], _WALL_S)
        finally:
            self._idle.put(child)
        if not answer:
            raise CorruptDataError("The picture took too long or ended its process.")
        if answer[:1] == b"!":
            raise CorruptDataError(answer[1:].decode())
        picture = answer[1:]
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
