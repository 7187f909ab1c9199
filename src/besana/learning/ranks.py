"""Who this process is among those that torchrun started; light to import."""

from __future__ import annotations

import os


def started_by_torchrun() -> int:
    """Count the trainers that torchrun started; 0 without it."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in names) else 0


def attends() -> bool:
    """Tell whether this is one of them, but not the first, which runs the stage."""
    return started_by_torchrun() > 1 and int(os.environ["RANK"]) > 0
