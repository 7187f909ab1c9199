"""A dataset made anew for retraining: what was tested stays test, new labels join in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.errors import NotReadyError
from besana.labels.conflicts import conflicts
from besana.labels.dealing import Dealt
from besana.labels.gathering import select_samples
from besana.labels.selection import Column, Selection, Wanted
from besana.shards.datasets import Dataset, freeze
from besana.statistics.groups import block_keys, dense, time_blocks
from besana.statistics.hashing import mix, text_hash
from besana.statistics.local_time import local_seconds
from besana.statistics.splits import LEFT_OUT, TEST, TRAIN, VALIDATION, keep_apart

if TYPE_CHECKING:
    from besana.shards.manifest import Manifest
    from besana.workspace import Workspace

Keys = NDArray[np.uint64]

_DEFAULT_BLOCK_MINUTES = 60


def renew(
    workspace: Workspace,
    before: Dataset,
    *,
    tested_share: float,
    validation_share: float,
    seed: int = 0,
) -> tuple[Dataset, bool]:
    """Freeze the next version of a dataset with all labels that are there now.

    The test set is frozen: what an earlier version tested on is never trained on. A share of the
    new blocks of time joins it, because nobody can tell whether a model has learnt a new herd
    from a test set without one. What resembles a test sample is left out of training.

    Args:
        workspace: Where samples and labels are.
        before: The version that the champion was trained on.
        tested_share: Share of the new blocks that is tested on.
        validation_share: Share of them that is validated on.
        seed: Another seed, other blocks.

    Returns:
        The version, and whether it is new.

    Raises:
        NotReadyError: If nothing is labelled.
    """
    settings = before.settings
    minutes = int(settings.get("block_minutes", _DEFAULT_BLOCK_MINUTES))
    group_by = settings.get("group_by", "")
    column = Column(group_by, settings.get("group_pattern", "")) if group_by else None
    wanted = Wanted(before.kind == "multi", before.classes, minutes, column)
    with tempfile.TemporaryDirectory(dir=workspace.temporary) as folder:
        disputed = list(conflicts(workspace.catalog, multi=wanted.multi))
        samples = select_samples(
            workspace, wanted, disputed, Path(folder), advance=lambda _count: None
        )
        if not len(samples):
            raise NotReadyError("Nothing is labelled.", f"Run: besana label {workspace.word} FILE")
        split = _split(workspace, before, samples, (tested_share, validation_share), seed)
        dealt = Dealt.of(samples, split)
        leaks = dealt.random_leaks(seed=seed)
        return freeze(
            workspace,
            before.name,
            samples.tables(dealt.split, dealt.fold, dealt.group, dealt.keys),
            kind=before.kind,
            classes=samples.classes,
            facts={
                "samples": samples.count(dealt.split != LEFT_OUT),
                "groups": len(dealt.keys),
                "folds": 0,
                "counts": dealt.counts(),
                "leaked_by_random_split": vars(leaks) | {"leaked_share": leaks.leaked_share},
                "recipe": "+".join(sorted(samples.recipes)),
                "channels": before.channels,
                "size_px": samples.sizes.most_common(1)[0][0],
                "settings": {**settings, "renewed_from": before.version},
            },
        )


def _split(
    workspace: Workspace,
    before: Dataset,
    samples: Selection,
    shares: tuple[float, float],
    seed: int,
) -> NDArray[np.int8]:
    keys, parts = known_blocks(workspace, before.manifest(), before.settings)
    tested, validated = shares
    drawn = (mix(samples.block, seed) >> np.uint64(11)).astype(np.float64) / 2.0**53
    split = np.full(len(samples.block), TRAIN, np.int8)
    split[drawn < tested + validated] = VALIDATION
    split[drawn < tested] = TEST
    place = np.searchsorted(keys, samples.block).clip(max=len(keys) - 1)
    is_known = keys[place] == samples.block
    split[is_known] = parts[place[is_known]]
    split[samples.channels != before.channels] = LEFT_OUT
    return keep_apart(split, samples.kin, dense(samples.block)[0])[1]


def known_blocks(
    workspace: Workspace, manifest: Manifest, settings: Mapping[str, Any]
) -> tuple[Keys, NDArray[np.int8]]:
    """List the blocks of time that a dataset has samples of, and the split of each.

    A block that was tested on in part counts as tested.

    Returns:
        (b,) rising 64-bit keys of camera and block, as `split` makes them; (b,) splits.
    """
    numbers = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    split = np.array([numbers[name] for name in manifest.splits], np.int8)[manifest.split]
    keys, place = np.unique(_blocks(workspace, manifest, settings), return_inverse=True)
    parts = np.full(len(keys), TRAIN, np.int8)
    np.maximum.at(parts, place, split)
    return keys, parts


def recent_samples(workspace: Workspace, before: Dataset, after: Dataset) -> NDArray[np.bool_]:
    """Tell which samples of a renewed dataset lie in blocks that the one before did not know."""
    keys, _ = known_blocks(workspace, before.manifest(), before.settings)
    return ~np.isin(_blocks(workspace, after.manifest(), after.settings), keys)


def _blocks(workspace: Workspace, manifest: Manifest, settings: Mapping[str, Any]) -> Keys:
    """Give each sample the key of its camera and block of time; without a time, of its frame."""
    minutes = int(settings.get("block_minutes", _DEFAULT_BLOCK_MINUTES))
    at: Any = manifest.column("captured_at")
    camera: Any = manifest.column("camera")
    block = np.zeros(len(manifest), np.uint64)
    for code, name in enumerate(camera.names):
        mine = (camera.codes == code) & ~np.isnat(at)
        if mine.any():
            seconds = at[mine].astype("datetime64[s]").astype(np.int64)
            local = local_seconds(seconds, workspace.camera(name).time_zone)
            number = time_blocks(local, minutes)
            block[mine] = block_keys(np.full(len(number), text_hash(name), np.uint64), number)
    untimed = np.flatnonzero(np.isnat(at))
    if len(untimed):
        names = [row["frame_id"] for row in manifest.identities(untimed)]
        block[untimed] = [text_hash(name) for name in names]
    return block
