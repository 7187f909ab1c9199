"""A workspace with prepared samples and a frozen dataset, made from arrays."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from besana import catalog as tables
from besana.images.encode import encode_png
from besana.shards.datasets import freeze
from besana.shards.writer import ShardWriter, sample_example

NOW = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
RECIPE = "recipe-1"


def stripes(count=48, size=32, seed=0):
    """Pictures of horizontal and vertical stripes on noise, and which they are."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 200, (count, size, size, 3)).astype(np.uint8)
    labels = rng.integers(0, 2, count)
    for image, label in zip(images, labels, strict=True):
        bright = np.arange(size) // 4 % 2 == 0
        if label:
            image[bright] = 255
        else:
            image[:, bright] = 255
    return images, labels


def add_samples(workspace, images, *, region="bed-1", shard="a.tfrecord"):
    """Pack pictures into a shard and add their rows; returns rows for a manifest."""
    rows = []
    with ShardWriter(workspace.shards, shard) as writer:
        for number, image in enumerate(images):
            frame = f"pen/{shard}-{number:05d}"
            height, width, channels = image.shape
            place = writer.add(
                sample_example(
                    f"{frame}/{region}",
                    encode_png(image[:, :, :3] if channels > 3 else image),
                    image_format="png",
                    height_px=height,
                    width_px=width,
                    channels=channels,
                )
            )
            size = {"height_px": height, "width_px": width, "channels": channels}
            rows.append({"frame_id": frame, "region": region, **vars_of(place), **size})
    workspace.catalog.insert(
        tables.samples, [{**row, "recipe": RECIPE, "prepared_at": NOW} for row in rows]
    )
    return rows


def vars_of(place):
    """Give a location's fields."""
    return {name: getattr(place, name) for name in type(place).__slots__}


def freeze_dataset(
    workspace,
    rows,
    labels,
    split,
    *,
    classes=("across", "upright"),
    folds=0,
    group=None,
    name="default",
):
    """Freeze rows into a dataset; labels are numbers, or rows of booleans."""
    several = np.ndim(labels) == 2
    group = np.arange(len(rows)) // 2 if group is None else group
    table = pa.Table.from_pylist(
        [
            {
                **row,
                "label": -1 if several else int(label),
                "labels": [bool(one) for one in label] if several else None,
                "split": part,
                "fold": int(number) % folds if folds and part != "test" else -1,
                "group": int(number),
                "camera": "pen",
                "captured_at": NOW,
                "light": "day",
            }
            for row, label, part, number in zip(rows, labels, split, group, strict=True)
        ]
    )
    dataset, _ = freeze(
        workspace,
        name,
        [table],
        kind="multi" if several else "single",
        classes=classes,
        facts={
            "samples": len(rows),
            "groups": len(set(group)),
            "folds": folds,
            "counts": {},
            "leaked_by_random_split": {},
            "recipe": RECIPE,
            "channels": int(rows[0]["channels"]),
            "size_px": (int(rows[0]["width_px"]), int(rows[0]["height_px"])),
            "settings": {},
        },
    )
    return dataset


def striped_dataset(workspace, count=96, *, validation=True, folds=0, seed=0):
    """Make a dataset of stripes: half train, a quarter validation, a quarter test."""
    images, labels = stripes(count, seed=seed)
    rows = add_samples(workspace, images)
    middle = "validation" if validation else "train"
    split = ["train"] * (count // 2) + [middle] * (count // 4)
    split += ["test"] * (count - len(split))
    return freeze_dataset(workspace, rows, labels, split, folds=folds)
