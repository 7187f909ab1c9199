"""Checkpoints: what a training needs to go on exactly where it was, or nothing at all.

Two files a checkpoint: tensors as safetensors, then a JSON that names their hash. The JSON comes
last and holds a hash of itself, so a checkpoint is complete or it is skipped with a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from besana.storage import Folder

_FORMAT = 1
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """One saved moment of a training.

    Attributes:
        step: Optimiser steps done.
        tensors: Weights, moments and random states by name.
        state: Everything that is not a tensor, as JSON values.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: Where they lie.
        identity: What has to be equal for a checkpoint to fit: hashes of classes, dataset and
            settings by name.
    """

    folder: Path
    identity: Mapping[str, str] = field(default_factory=dict)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, durable on return, and remove all but the last two.

        Raises:
            StorageError: If the disk refused; earlier checkpoints stay.
        """
        from safetensors.torch import save

        storage = Folder(self.folder)
        data = save({key: _plain(value) for key, value in checkpoint.tensors.items()})
        body = {
            "format": _FORMAT,
            "step": checkpoint.step,
            "identity": dict(self.identity),
            "tensors_sha256": hashlib.sha256(data).hexdigest(),
            "state": dict(checkpoint.state),
        }
        storage.write(_tensors(checkpoint.step), data)
        storage.write(_json(checkpoint.step), _sealed(body))
        self._prune(checkpoint.step)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Read the newest complete checkpoint that fits.

        Returns:
            The checkpoint, None when there is none; and one sentence for each that was skipped.
        """
        skipped: list[str] = []
        for step in reversed(self._steps()):
            try:
                return self._read(step), skipped
            except _UnfitError as reason:
                skipped.append(f"Checkpoint {step} was skipped: {reason}.")
        return None, skipped

    def clear(self) -> None:
        """Remove all checkpoints: the run is complete."""
        for path in self.folder.glob("*.json"):
            path.unlink()
        for path in self.folder.glob("*.safetensors"):
            path.unlink()

    def _read(self, step: int) -> Checkpoint:
        body = _unsealed(self.folder / _json(step))
        if body.get("format") != _FORMAT:
            raise _UnfitError(f"its format is {body.get('format')!r}, not {_FORMAT}")
        identity = body.get("identity")
        for name, value in self.identity.items():
            if not isinstance(identity, dict) or identity.get(name) != value:
                raise _UnfitError(f"it belongs to another {name}")
        try:
            data = (self.folder / _tensors(step)).read_bytes()
        except FileNotFoundError:
            raise _UnfitError("its tensors are missing") from None
        if hashlib.sha256(data).hexdigest() != body.get("tensors_sha256"):
            raise _UnfitError("its tensors are not those it was written with")
        from safetensors.torch import load

        return Checkpoint(step, load(data), body["state"])

    def _steps(self) -> list[int]:
        """List the steps of which any file is there, in order."""
        stems = {path.stem for path in self.folder.glob("*") if path.suffix in _SUFFIXES}
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def _prune(self, newest: int) -> None:
        """Remove old ones, and later ones that were skipped when the run went on."""
        steps = self._steps()
        done = [step for step in steps if step <= newest]
        for step in set(steps) - set(done[-_KEPT:]):
            # The JSON goes first: tensors without one are nothing.
            (self.folder / _json(step)).unlink(missing_ok=True)
            (self.folder / _tensors(step)).unlink(missing_ok=True)


_SUFFIXES = (".json", ".safetensors")


class _UnfitError(Exception):
    """Say why one checkpoint cannot be used; it never leaves this module."""


def _tensors(step: int) -> str:
    return f"{step:09d}.safetensors"


def _json(step: int) -> str:
    return f"{step:09d}.json"


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu").contiguous()


def _sealed(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({"body": body, "sha256": seal}, sort_keys=True, indent=1).encode()


def _unsealed(path: Path) -> dict[str, Any]:
    try:
        outer = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _UnfitError("it is half-written") from None
    except ValueError:
        raise _UnfitError("its description is not whole") from None
    body = outer.get("body") if isinstance(outer, dict) else None
    if not isinstance(body, dict):
        raise _UnfitError("its description is not one of a checkpoint")
    text = json.dumps(body, sort_keys=True)
    if hashlib.sha256(text.encode()).hexdigest() != outer.get("sha256"):
        raise _UnfitError("its description was changed")
    return body
