"""A small farm over days: frames with quality, stripes as samples, labels, a champion."""

from __future__ import annotations

import datetime as dt

import numpy as np

from besana import catalog as tables
from besana.images.encode import encode_png
from besana.shards.writer import ShardWriter, sample_example
from besana.stages import evaluate, predict, register, split, train
from besana.workspace import Workspace
from small_dataset import NOW, RECIPE, vars_of

START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
CAMERA, REGIONS = "pen", ("bed-1", "bed-2")
INTERVAL_S = 3600
TOML = f"""
[cameras.{CAMERA}]
frame_interval_s = {INTERVAL_S}
[cameras.{CAMERA}.regions]
bed-1 = [0, 0, 32, 32]
bed-2 = [32, 0, 64, 32]
"""
CLASSES = ("across", "upright")


def picture(rng, label, *, ground=(60, 200), stripe=255, size=32):
    image = rng.integers(*ground, (size, size, 3)).astype(np.uint8)
    bright = np.arange(size) // 4 % 2 == 0
    if label:
        image[bright] = stripe
    else:
        image[:, bright] = stripe
    return image


def add_days(workspace, first, days, *, seed=0, labelled=True, brightness=120.0, **looks):
    """Add frames of some days, a picture of stripes in each region; give the truth."""
    rng = np.random.default_rng([seed, first])
    frames, quality, samples, truth = [], [], [], {}
    with ShardWriter(workspace.shards, f"{first:03d}.tfrecord") as writer:
        for hour in range(first * 24, (first + days) * 24, INTERVAL_S // 3600):
            at = START + dt.timedelta(hours=hour)
            frame = f"{CAMERA}/{at:%Y%m%dT%H%M%S}.000Z-{hour:08x}"
            frames.append(frame_row(frame, at))
            quality.append(quality_row(frame, rng, brightness))
            for region in REGIONS:
                label = int(rng.integers(2))
                truth[frame, region] = CLASSES[label]
                example = sample_example(
                    f"{frame}/{region}",
                    encode_png(picture(rng, label, **looks)),
                    image_format="png",
                    height_px=32,
                    width_px=32,
                    channels=3,
                )
                place = vars_of(writer.add(example))
                size = {"height_px": 32, "width_px": 32, "channels": 3}
                own = {"recipe": RECIPE, "prepared_at": NOW}
                samples.append({"frame_id": frame, "region": region, **place, **size, **own})
    for table, rows in (
        (tables.frames, frames),
        (tables.quality, quality),
        (tables.samples, samples),
    ):
        workspace.catalog.insert(table, rows)
    if labelled:
        add_labels(workspace, truth)
    return truth


def frame_row(frame, at):
    return {
        "id": frame,
        "camera": CAMERA,
        "captured_at": at,
        "time_source": "name",
        "name": f"{frame}.png",
        "source": "test",
        "source_size_bytes": 1,
        "source_modified_ns": 1,
        "bands": [],
        "sha256": frame,
        "size_bytes": 1,
        "width_px": 64,
        "height_px": 32,
        "metadata": {},
        "collected_at": NOW + dt.timedelta(days=365),
    }


def quality_row(frame, rng, brightness):
    return {
        "frame_id": frame,
        "width_px": 64,
        "height_px": 32,
        "channels": 3,
        "brightness": brightness + rng.normal(0, 3),
        "dark_share": 0.0,
        "bright_share": 0.0,
        "contrast": 40 + rng.normal(),
        "sharpness": 300 + 10 * rng.normal(),
        "entropy_bits": 7.0,
        "perceptual_hash": int(rng.integers(-(2**62), 2**62)),
        "light": "day",
        "shift_x_px": float(rng.normal(0, 0.1)),
        "shift_y_px": float(rng.normal(0, 0.1)),
        "thumbnail": None,
    }


def add_labels(workspace, truth):
    now = dt.datetime.now(dt.UTC)
    rows = [
        {
            "id": f"{frame}/{region}/{now.timestamp()}",
            "frame_id": frame,
            "region": region,
            "class_name": name,
            "holds": True,
            "annotator": "ana",
            "source": "test",
            "labelled_at": now,
            "note": "",
            "added_at": now,
        }
        for (frame, region), name in truth.items()
    ]
    workspace.catalog.insert(tables.labels, rows)


TRAIN = {
    "strategy": "scratch",
    "backbone": "timm/test_byobnet",
    "size_px": 32,
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "augment": "none",
    "threads": 1,
}


def make_farm(path, *, days=9):
    """Make a farm whose champion has learnt stripes on its first days."""
    workspace = Workspace.create(path, TOML)
    add_days(workspace, 0, days)
    split.run(workspace, split.Config(method="last_days", test_days=3, validation_share=0.2))
    train.run(workspace, train.Config(**TRAIN))
    evaluate.run(workspace, evaluate.Config(replicates=100, pictures=0))
    register.run(workspace, register.Config())
    predict.run(workspace, predict.Config(threads=1))
    return workspace
