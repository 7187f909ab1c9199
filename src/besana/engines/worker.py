"""A worker process of the local engine: receives partitions on a socket, sends summaries."""

from __future__ import annotations

import contextlib
import queue
import resource
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from besana import traffic
from besana.errors import BesanaError


def serve(connection: Connection) -> None:
    """Run partitions until the other side closes."""
    # Received in a thread, so that driver and worker never both wait to send something large.
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, received), daemon=True).start()
    while (job := received.get()) is not None:
        connection.send(run_partition(*job))


def run_partition(function: Any, partition: Any) -> tuple[bool, Any, int, traffic.Traffic]:
    """Run one partition; what it raises is part of the answer.

    Returns:
        Whether it went well, its summary or its error, the peak memory of this process in
        bytes, and the requests to buckets since the last call.
    """
    return (*_outcome(function, partition), _peak_memory_bytes(), traffic.METER.take())


def _receive(connection: Connection, received: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            received.put(connection.recv())
    except (EOFError, ConnectionError):
        received.put(None)


def _outcome(function: Any, partition: Any) -> tuple[bool, Any]:
    try:
        return True, function(partition)
    except BesanaError as error:
        return False, error
    except Exception as error:  # noqa: BLE001  # whatever it was is raised again in the driver
        error.add_note(f"In a worker:\n{traceback.format_exc()}")
        return False, error


def _peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Serve on the socket whose descriptor the command line names."""
    # Ctrl-C reaches the whole group; the driver decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):  # the driver is gone
        serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
