"""The process that fills a loader's batches; `process_feed` starts it and talks to it."""

from __future__ import annotations

import importlib
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from besana.errors import BesanaError, CorruptDataError
from besana.shards.cache import BlockCache
from besana.shards.decoding import is_jpeg
from besana.shards.feeding import ThreadFeed
from besana.shards.jobs import Batch
from besana.shards.manifest import Manifest, open_manifest
from besana.shards.native import is_usable, library
from besana.shards.passes import Pass
from besana.shards.process_feed import Failed, Order, Sent, map_slots
from besana.shards.source import Source


class Server:
    """Fill batches as they are asked for.

    Args:
        connection: To who asks.
        descriptor: File of the memory for the pictures.
    """

    def __init__(self, connection: Connection, descriptor: int) -> None:
        self._connection = connection
        order: Order = connection.recv()
        slots = map_slots(descriptor, order)
        self._places = {slot.__array_interface__["data"][0]: n for n, slot in enumerate(slots)}
        self._held: dict[int, Batch] = {}
        self._pass: Pass | None = None
        self._number = 0
        self._feed = _open_feed(order, slots)

    def run(self) -> None:
        """Answer until nobody listens."""
        try:
            while True:
                self._obey(*self._connection.recv())
        except (EOFError, ConnectionError):
            return
        finally:
            if self._pass is not None:
                self._pass.close()
            self._held.clear()
            self._feed.close()

    def _obey(self, verb: str, *what: Any) -> None:
        if verb == "free":
            for slot in what[0]:
                del self._held[slot]
        elif verb == "pass":
            self._number, span = what
            self._guarded(lambda: self._open(span))
        elif verb == "end":
            self._end()
        elif what[0] == self._number:
            self._guarded(self._next)

    def _open(self, span: Any) -> None:
        self._end()
        self._pass = self._feed.open_pass(span)

    def _end(self) -> None:
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def _next(self) -> None:
        batch = None if self._pass is None else self._pass.next()
        consumed = 0 if self._pass is None else self._pass.consumed
        slot = None
        if batch is not None:
            slot = self._places.get(batch.images.__array_interface__["data"][0])
        if batch is not None and slot is not None:
            self._held[slot] = batch
            nothing = np.empty(0, batch.images.dtype)
            batch = Batch(nothing, batch.labels, batch.index, batch.valid, batch.epoch)
        feed = self._feed
        self._connection.send(
            Sent(self._number, slot, batch, consumed, feed.costs, feed.fetched, feed.extra_batches)
        )

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except ConnectionError:
            raise
        except BesanaError as error:
            self._connection.send(Failed(self._number, error))
        except Exception as error:  # noqa: BLE001  whatever it is, who asks shall hear it
            said = BesanaError(f"{type(error).__name__}: {error}")
            self._connection.send(Failed(self._number, said))


def _open_feed(order: Order, slots: list[Any]) -> ThreadFeed:
    manifest = open_manifest(*order.manifest)
    if manifest.fingerprint != order.fingerprint:
        raise CorruptDataError(f"Manifest '{manifest.key}' was replaced.", "Start again.")
    if order.torch and not _is_native(order, manifest):
        importlib.import_module("torch").set_num_threads(1)
    source = Source(order.settings, manifest, order.positions, order.shards)
    if order.cache is not None and not source.local:
        source.use_cache(BlockCache(*order.cache))
    free = iter(slots)
    return ThreadFeed(
        order.settings,
        manifest,
        order.positions,
        source,
        order.memory,
        order.channels,
        order.augment,
        allocate=lambda: next(free),
    )


def _is_native(order: Order, manifest: Manifest) -> bool:
    """Tell whether the native library makes the pictures, as far as the first of them says.

    Then torch, which would take most of this process's memory, has next to nothing to resize.
    """
    if not is_usable(library(order.settings.native), order.settings, order.channels):
        return False
    first = manifest.location(int(order.positions[0]))
    try:
        payload = order.shards.read_range(first.shard, first.payload_offset_bytes, 2)
    except BesanaError:
        return False  # whoever reads the record says what is wrong with it
    return is_jpeg(memoryview(payload))


def main() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks; then nobody listens
    connection, descriptor = Connection(int(sys.argv[1])), int(sys.argv[2])
    try:
        server = Server(connection, descriptor)
    except BesanaError as error:
        connection.send(Failed(0, error))
        return
    except (EOFError, ConnectionError):
        return
    server.run()


if __name__ == "__main__":
    main()
