"""A decoder that dies of one kind of file, and is slow with another; run by test_decoders."""

import os
import signal
import time

from besana.engines.child import answer_parent, unpacked
from besana.serving.decoders import decode

FATAL, SLOW = b"what this decoder dies of", b"what it looks at for long"
SLOW_S = 0.4


def dying(jobs):
    for job in jobs:
        if FATAL in unpacked(job):
            os.kill(os.getpid(), signal.SIGKILL)
        if SLOW in unpacked(job):
            time.sleep(SLOW_S)
    return decode(jobs)


if __name__ == "__main__":
    answer_parent(dying)
