"""Collections that others made: many classes, turned copies, label conflicts, two bands."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import sqlalchemy as sa

import besana
import besana.catalog as tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(folder, source, text="", **overrides):
    workspace = besana.Workspace.create(folder, text)
    collect = {"source": [str(source)], "in_place": True, **overrides.pop("collect", {})}
    return workspace, {"collect": collect, **overrides}


MOBILENET = {
    "backbone": "timm/mobilenetv2_100",
    "backbone_options": {"pad_type": "same"},
    "input_mean": [128],
    "input_std": [128],
}


def test_seedlings_probe_learns_twelve_classes(real_images, weights, tmp_path):
    workspace, overrides = start(
        tmp_path,
        real_images / "seedlings",
        split={"method": "fractions"},
        train={"strategy": "probe", "weights": str(weights), **MOBILENET},
    )
    reports = besana.run(workspace, last="evaluate", overrides=overrides)
    assert reports["collect"].counts_out == 1200
    assert len(workspace.catalog.counted(tables.labels)) == 12
    assert reports["evaluate"].facts["accuracy_share"] > 0.6


def test_seedlings_finetune_tells_three_grasses_apart(real_images, weights, tmp_path):
    grasses = ["Black-grass", "Common_wheat", "Loose_Silky-bent"]
    train = {"strategy": "finetune", "weights": str(weights), "size_px": 160, "augment": "turned"}
    workspace, overrides = start(
        tmp_path,
        real_images / "seedlings",
        split={"method": "fractions", "validation_share": 0, "classes": grasses},
        train={**train, **MOBILENET},
    )
    reports = besana.run(workspace, last="evaluate", overrides=overrides)
    assert reports["evaluate"].counts_out == 60
    assert reports["evaluate"].facts["accuracy_share"] > 0.55


def small_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Every training picture by class and name as 16 x 16 grey values."""
    pictures = {}
    for path in sorted(folder.glob("*/*.[jJ]*")):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
        pictures[path.relative_to(folder).as_posix()] = small.astype(np.float32)
    return pictures


def nearest(picture: np.ndarray, originals: np.ndarray) -> int:
    """Which original a picture was turned from: the least difference over quarter turns."""
    turns = [np.abs(originals - np.rot90(picture, k)).mean(axis=(1, 2)) for k in range(4)]
    return int(np.min(turns, axis=0).argmin())


def test_turned_copies_of_rice_leaves_stay_in_one_group(real_images, tmp_path):
    import pyarrow.parquet as pq

    workspace, overrides = start(tmp_path, real_images / "rice-leaf", split={"method": "fractions"})
    besana.run(workspace, last="split", overrides=overrides)
    path = workspace.datasets.local_path("default/1/manifest.parquet")
    rows = pq.read_table(path, columns=["frame_id", "group", "split"]).to_pylist()
    f = tables.frames.c
    names = {row.id: row.name for row in workspace.catalog.rows(sa.select(f.id, f.name))}
    place = {
        names[row["frame_id"]].removeprefix("train/"): (row["group"], row["split"]) for row in rows
    }
    # Numbers in the names say nothing about which picture was turned; the pixels do.
    pictures = small_pictures(real_images / "rice-leaf" / "train")
    originals = [name for name in pictures if "_rot" not in name]
    stack = np.stack([pictures[name] for name in originals])
    copies = pictures.keys() - set(originals)
    assert len(copies) == 360
    for name in copies:
        original = originals[nearest(pictures[name], stack)]
        assert place[name] == place[original], f"{name} was turned from {original}"
    assert len({group for group, _ in place.values()}) == 300


def test_identical_pests_with_different_labels_are_reported(real_images, tmp_path):
    workspace, overrides = start(tmp_path, real_images / "rice-pests")
    reports = besana.run(workspace, last="label", overrides=overrides)
    conflicts = [
        section
        for section in reports["label"].sections
        if section.title.startswith("Identical files")
    ]
    assert conflicts


def test_two_band_patches_train(real_images, tmp_path):
    workspace, overrides = start(
        tmp_path,
        real_images / "red-nir",
        collect={"metadata": str(real_images / "red-nir" / "labels.csv")},
        split={"group_by": "group", "method": "column", "split_column": "official_split"},
        train={"strategy": "scratch", "epochs": 3, "size_px": 32},
    )
    reports = besana.run(workspace, last="evaluate", overrides=overrides)
    channels = workspace.catalog.rows(sa.select(tables.samples.c.channels).distinct())
    assert [row.channels for row in channels] == [2]
    assert reports["evaluate"].counts_out > 20
