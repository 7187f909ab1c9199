"""Settings of a loader, and the memory that they take."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, field_validator, model_validator

from besana.config import Settings
from besana.errors import ConfigError, MemoryLimitError
from besana.shards.augment import Augment, Fit, Floats, smallest_crop
from besana.shards.manifest import Manifest, Positions
from besana.shards.memory import default_budget_bytes, usable_processors
from besana.shards.stream import Tail

_MOST_SLOTS = 6
_FEWEST_SLOTS = 2
_FLOAT_SLOTS = 2
"""Batches of float32: one with who asked for it, one that is being made of a staged one."""
_MOST_STAGED = 2
_CHUNK = 1 << 14
READS_AHEAD = 4
"""Segments of a bucket's shards that are read before they are needed."""

Shuffle = Literal["global", "block", "none"]


class LoaderSettings(Settings):
    """Say how a loader goes through its samples."""

    batch_size: int = Field(64, ge=1, description="Samples of a batch, all ranks together.")
    size: tuple[int, int] = Field((224, 224), description="Height and width to make, px.")
    seed: int = Field(0, ge=0, description="Chooses order and augmentation.")
    shuffle: Shuffle = Field("global", description="How the order is mixed.")
    tail: Tail = Field("drop", description="What becomes of samples that fill no batch.")
    rank: int = Field(0, ge=0, description="Which of the ranks this loader serves.")
    ranks: int = Field(1, ge=1, description="How many loaders share each batch.")
    threads: int = Field(1, ge=1, le=256, description="Threads that decode.")
    memory_bytes: int = Field(1 << 30, ge=1, description="Most memory for buffers.")
    fit: Fit = Field("stretch", description="How a picture's shape becomes the batch's.")
    dtype: Literal["uint8", "uint16", "float32"] = Field("uint8", description="Type of the pixels.")
    mean: tuple[float, ...] = Field((0.0,), description="Subtracted from float32 pixels.")
    std: tuple[PositiveFloat, ...] = Field((1.0,), description="Float32 pixels' divisor.")
    on_error: Literal["raise", "substitute"] = Field("raise", description="On a corrupt record.")
    max_dropped_share: float = Field(0.001, ge=0, le=1, description="Corrupt share endured.")
    block_bytes: int = Field(2 << 20, ge=1, description="Bytes of a block of neighbours.")
    window_blocks: int = Field(32, ge=1, description="Blocks that are mixed with each other.")
    watchdog_s: float = Field(120.0, gt=0, description="Seconds without progress endured.")
    cache_bytes: int = Field(10 << 30, ge=0, description="Most bytes kept of a bucket.")
    native: bool | None = Field(None, description="Whether the native library makes pictures.")

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _spread(cls, value: Any) -> tuple[float, ...]:
        return tuple(np.atleast_1d(value).tolist())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.size) < 1:
            raise ValueError(f"size {self.size} is not above 0")
        if self.rank >= self.ranks:
            raise ValueError(f"rank {self.rank} is not below ranks {self.ranks}")
        if self.batch_size % self.ranks:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared by {self.ranks} ranks")
        return self

    @property
    def rank_batch_size(self) -> int:
        """Tell how many samples of a batch are this rank's."""
        return self.batch_size // self.ranks


def defaults_for_machine() -> dict[str, int]:
    """Choose threads and memory by what this process may use."""
    return {"threads": usable_processors(), "memory_bytes": default_budget_bytes()}


# What a decoder keeps: tables of codes and weights, and lines of pictures.
_DECODER_BYTES = 1 << 18


class MemoryPlan(NamedTuple):
    """What a loader allocates, in bytes unless named otherwise.

    Attributes:
        slots: Batches in the ring.
        staged: Batches that wait to become float32; each counts as large as one, and takes a
            quarter of it where pictures have 8 bits.
        threads: Threads that decode; fewer than wished when memory is short.
        record_bytes: Buffer for one record, one a thread.
        pixels_bytes: Buffer for one decoded picture, one a thread.
        ahead_bytes: Records from a bucket that are held or on their way; 0 for local files.
        total_bytes: Everything: ring, threads, reads ahead.
    """

    slots: int
    staged: int
    threads: int
    record_bytes: int
    pixels_bytes: int
    ahead_bytes: int
    total_bytes: int


def plan_memory(
    settings: LoaderSettings,
    manifest: Manifest,
    positions: Positions,
    *,
    channels: int,
    augment: Augment | None,
    local: bool,
    process: bool,
) -> MemoryPlan:
    """Share out the memory that is allowed.

    Raises:
        MemoryLimitError: If two batches, for float32 three, and one thread do not fit.
    """
    height, width = settings.size
    item = np.dtype(settings.dtype).itemsize
    slot = settings.rank_batch_size * height * width * channels * item
    record = int(manifest.length_bytes[positions].max())
    pixels = _largest_decoded(settings, manifest, positions, augment)
    # Besides its buffers a thread holds a decoded PNG and a picture sampled finer than the target.
    thread = record + (4 * pixels + 4 * height * width * channels) * item + _DECODER_BYTES
    shards = 0 if local else _end_of_shards(manifest, positions)
    for threads in range(settings.threads, 0, -1):
        for slots, staged in _shares(settings, process=process):
            batches = slots + staged
            ahead = 0 if local else min(_ahead_bytes(settings, batches, record), shards)
            total = batches * slot + threads * thread + ahead
            if total <= settings.memory_bytes:
                return MemoryPlan(slots, staged, threads, record, pixels, ahead, total)
    raise MemoryLimitError(
        f"The loader needs {total} bytes for {batches} batches of {settings.rank_batch_size} and a "
        f"thread, more than the {settings.memory_bytes} bytes allowed.",
        "Take a smaller batch or window_blocks, or raise memory_bytes.",
    )


def _shares(settings: LoaderSettings, *, process: bool) -> list[tuple[int, int]]:
    """List the numbers of batches in the ring and of staged ones, from the most to the fewest."""
    if settings.dtype != "float32":
        return [(slots, 0) for slots in range(_MOST_SLOTS, _FEWEST_SLOTS - 1, -1)]
    # In a process of its own one more is on its way to who asks.
    shares = [(_FLOAT_SLOTS + 1, _MOST_STAGED)] if process else []
    return shares + [(_FLOAT_SLOTS, staged) for staged in range(_MOST_STAGED, 0, -1)]


def _ahead_bytes(settings: LoaderSettings, slots: int, record: int) -> int:
    """Bound the bytes from a bucket that are held or on their way.

    With blocks they are the window, what is read ahead of it, and the segments that begin while
    the batches of the ring go by; in the order of the shards the window is one block; else they are
    the records of those batches.
    """
    passing = slots * settings.rank_batch_size * record
    if settings.shuffle == "global":
        return passing
    begun = -(-slots * settings.batch_size * record // settings.block_bytes)
    window = settings.window_blocks if settings.shuffle == "block" else 1
    segments = window + 1 + READS_AHEAD + begun
    return max(passing, segments * (settings.block_bytes + record))


def _end_of_shards(manifest: Manifest, positions: Positions) -> int:
    """Add up the shards, as far as samples are used."""
    ends = np.zeros(len(manifest.shards), np.int64)
    for start in range(0, len(positions), _CHUNK):
        part = positions[start : start + _CHUNK]
        last = manifest.offset_bytes[part].astype(np.int64) + manifest.length_bytes[part]
        np.maximum.at(ends, manifest.shard[part], last)
    return int(ends.sum())


def _largest_decoded(
    settings: LoaderSettings, manifest: Manifest, positions: Positions, augment: Augment | None
) -> int:
    """Bound the bytes of a decoded picture of 8 bits, at the scale that the smallest crop needs."""
    largest = 0
    for start in range(0, len(positions), _CHUNK):
        part = positions[start : start + _CHUNK]
        height = manifest.height_px[part].astype(np.int64)
        width = manifest.width_px[part].astype(np.int64)
        if height.min() == height.max() and width.min() == width.max():
            height, width = height[:1], width[:1]
        tall, wide = smallest_crop(augment, relative_aspect(settings, height, width))
        scale = np.ones(len(height), np.int64)
        for larger in (2, 4, 8):
            enough = height * tall >= settings.size[0] * larger
            scale[enough & (width * wide >= settings.size[1] * larger)] = larger
        pixels: npt.NDArray[np.int64] = -(-height // scale) * -(-width // scale)
        largest = max(largest, int(pixels.max()))
    return largest * 3


def relative_aspect(
    settings: LoaderSettings, height: npt.NDArray[Any], width: npt.NDArray[Any]
) -> Floats:
    """Tell how wide pictures are for their height, relative to the target when shapes are kept."""
    if settings.fit == "stretch":
        return np.ones(len(height))
    target = settings.size[1] / settings.size[0]
    relative: Floats = width / height.astype(np.float64) / target
    return relative


def common_channels(settings: LoaderSettings, manifest: Manifest, positions: Positions) -> int:
    """Tell how many channels all samples have; grey ones count as colour among colour.

    Raises:
        ConfigError: If they differ, or `mean` or `std` is for another number.
    """
    channels = manifest.channels[positions]
    found = {int(channels.min()), int(channels.max())}
    if len(found) > 1:
        found = set(np.unique(channels).tolist())
    if len(found) > 1 and found != {1, 3}:
        names = " and ".join(str(number) for number in sorted(found))
        raise ConfigError(
            f"Samples of {names} channels cannot share a batch.", "Prepare one set of bands."
        )
    for name in ("mean", "std"):
        if (given := len(getattr(settings, name))) not in (1, max(found)):
            raise ConfigError(f"{name} has {given} values for {max(found)} channels.")
    return max(found)
