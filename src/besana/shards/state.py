"""The place of a loader in its stream, as a few plain values that survive JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from besana.errors import ConfigError
from besana.shards.manifest import Manifest, Positions
from besana.shards.options import LoaderSettings

_VERSION = 1


class Place(NamedTuple):
    """A place in the stream.

    Attributes:
        epoch: Number of the epoch.
        next_sample: Samples of it that were consumed; below 0 where the tail of the epoch before
            comes first.
    """

    epoch: int
    next_sample: int


def identify(manifest: Manifest, positions: Positions) -> str:
    """Name a selection of samples: by the content of the dataset and the positions in it."""
    chosen = hashlib.sha256(np.ascontiguousarray(positions, "<i8").data).hexdigest()[:32]
    return f"{manifest.fingerprint[:32]}-{chosen}"


def write_state(settings: LoaderSettings, fingerprint: str, place: Place) -> dict[str, Any]:
    """Give a state: what the order depends on, and the place."""
    names = ["seed", "shuffle"]
    if settings.shuffle == "block":
        names += ["block_bytes", "window_blocks"]
    return {
        "version": _VERSION,
        "fingerprint": fingerprint,
        **{name: getattr(settings, name) for name in names},
        **place._asdict(),
    }


def read_state(
    state: Mapping[str, Any], settings: LoaderSettings, fingerprint: str, count: int
) -> Place:
    """Take the place out of a state.

    Args:
        state: From `write_state`.
        settings: The settings of the loader that goes on.
        fingerprint: Its samples.
        count: How many they are.

    Raises:
        ConfigError: If the state belongs to other samples or another order, or has no place.
    """
    mine = write_state(settings, fingerprint, Place(0, 0))
    for name, value in mine.items():
        if name not in Place._fields and state.get(name) != value:
            what = "other samples" if name == "fingerprint" else f"{name} {state.get(name)!r}"
            raise ConfigError(
                f"The state of the loader is for {what}, not {value!r}.",
                "Give the same dataset, split and settings, or start anew.",
            )
    epoch, sample = state.get("epoch"), state.get("next_sample")
    if isinstance(epoch, int) and isinstance(sample, int):
        place = Place(epoch, sample)
        if epoch >= 0 and -count < sample <= count and epoch * count + sample >= 0:
            return place
    raise ConfigError("The state of the loader has no valid place.", "Start anew.")
