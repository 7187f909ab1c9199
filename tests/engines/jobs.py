"""Functions that workers import; a worker never runs the test module itself."""

import os
import signal
from collections.abc import Sequence

from besana.errors import CorruptDataError


def add(partition: Sequence[int]) -> int:
    return sum(partition)


def die_on_seven(partition: Sequence[int]) -> list[int]:
    if 7 in partition:
        os.kill(os.getpid(), signal.SIGKILL)
    return list(partition)


def refuse_three(partition: Sequence[int]) -> int:
    if 3 in partition:
        raise CorruptDataError("Three is broken.", "Leave it out.", reason="damaged")
    return len(partition)


def process_id(partition: Sequence[int]) -> int:
    return os.getpid()
