"""The process of a trainer that besana started itself: hears its job, says how it goes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from besana.errors import BesanaError

if TYPE_CHECKING:
    from besana.learning.recipe import Watch

_BEAT_S = 2.0
_SHOWN_EVERY_S = 0.2


class Voice:
    """Tells the process that started this one how it goes, and that it goes at all.

    Args:
        connection: To that process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._samples, self._said_at = 0, 0.0
        threading.Thread(target=self._beat, daemon=True).start()

    def say(self, verb: str, value: Any = None) -> None:
        """Send a message; without anybody who listens this process ends."""
        try:
            with self._lock:
                self._connection.send((verb, value))
        except OSError:
            os._exit(1)

    def count(self, samples: int) -> None:
        """Tell of samples, a few times a second."""
        self._samples += samples
        if time.monotonic() - self._said_at >= _SHOWN_EVERY_S:
            self.tell_samples()

    def tell_samples(self) -> None:
        """Tell of samples that were not told yet."""
        self.say("samples", self._samples)
        self._samples, self._said_at = 0, time.monotonic()

    def watch(self, rank: int) -> Watch:
        """Give what listens to the training; only the first trainer's is told."""
        from besana.learning.recipe import Watch

        if rank:
            return Watch()
        return Watch(samples=self.count, epoch=lambda epoch: self.say("epoch", epoch))

    def _beat(self) -> None:
        while True:
            self.say("alive")
            time.sleep(_BEAT_S)


def serve(connection: Connection) -> None:
    """Do one job and tell how it went."""
    voice = Voice(connection)  # speaks while torch is loaded, which may take long
    job = connection.recv()
    from besana.learning.team import joined
    from besana.learning.trainer import work

    try:
        with joined(job.task.device) as team:
            told = work(job, team, voice.watch(team.rank))
            voice.tell_samples()
        voice.say("done", told)
    except BesanaError as error:
        voice.say("error", error)
    except Exception:  # noqa: BLE001  # whatever it was is told where the trainers were started
        voice.say("failed", traceback.format_exc())


def main() -> None:
    """Serve on the socket whose descriptor the command line names."""
    # Ctrl-C reaches all; who started the trainers ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):  # nobody listens any more
        serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
