"""A child process of `decoders`: decodes what its parent sends, or dies of it."""

from __future__ import annotations

import contextlib
import signal
import sys
from multiprocessing.connection import Connection

from besana.serving.decoders import decode_guarded
from besana.serving.priority import step_back


def main() -> None:
    """Answer jobs on the socket whose descriptor the command line names."""
    import cv2

    cv2.setNumThreads(1)
    step_back()
    # Ctrl-C reaches the whole group; the server decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(decode_guarded(connection.recv()))


if __name__ == "__main__":
    main()
