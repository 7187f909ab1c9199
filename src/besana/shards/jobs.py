"""Batches: what is handed out, what is on its way, and who fills them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from besana.shards.augment import Changes
from besana.shards.canvas import Canvas
from besana.shards.manifest import Positions
from besana.shards.native import NativeFiller, Orders
from besana.shards.normal import Normal
from besana.shards.pictures import Costs, Seen, Task
from besana.shards.reading import Scratch
from besana.shards.ring import Ring
from besana.shards.workers import Workers


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures with their labels.

    The pictures lie in memory that is used again when nothing refers to them any more.

    Attributes:
        images: (batch, height, width, channels) uint8 or uint16, RGB first.
        labels: (batch,) int64, -1 for none; or (batch, classes) bool when there are several.
        index: (batch,) int64, position of each sample in the manifest, -1 for padding.
        valid: (batch,) bool, False for padding and for records that could not be used.
        epoch: (batch,) int64, epoch that each sample is used in; -1 for padding.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    index: Positions
    valid: npt.NDArray[np.bool_]
    epoch: npt.NDArray[np.int64]


@dataclass
class Job:
    """A batch on its way, with what is to be made of it."""

    batch: Batch
    canvas: Canvas
    samples: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    changes: Changes
    tasks: list[Task]
    orders: Orders | None
    requested: list[int]
    stop: int
    parts: list[Future[Costs]] = field(default_factory=list)
    unmade: deque[range] = field(default_factory=deque)
    is_finished: bool = True


class Stretch(NamedTuple):
    """This rank's samples of a few batches, laid out at once: that costs a third as much."""

    start: int
    stop: int
    samples: Positions
    epochs: npt.NDArray[np.int64]
    changes: Changes
    tasks: list[Task]
    orders: Orders | None


class Crew(NamedTuple):
    """What passes share: threads, their buffers, and the ring.

    Attributes:
        workers: Threads that decode.
        scratches: Buffers, one a thread.
        idle: Those of the buffers that no thread uses now.
        ring: Batches.
        sound: Samples whose picture was decoded whole, without any complaint.
        normal: How pixels become float32; None where they stay whole numbers.
        staging: Batches that wait to become float32.
        filler: Makes what the native library can; None without it.
    """

    workers: Workers
    scratches: tuple[Scratch, ...]
    idle: deque[Scratch]
    ring: Ring
    sound: Seen
    normal: Normal | None
    staging: Ring | None
    filler: NativeFiller | None
