"""A decoder that dies of one kind of file; run as a child by test_decoders."""

import os
import signal

from besana.engines.child import answer_parent, unpacked
from besana.serving.decoders import decode

FATAL = b"what this decoder dies of"


def dying(jobs):
    for job in jobs:
        if FATAL in unpacked(job):
            os.kill(os.getpid(), signal.SIGKILL)
    return decode(jobs)


if __name__ == "__main__":
    answer_parent(dying)
