"""Collections that others made: many classes, turned copies, label conflicts, two bands."""

import pytest
import sqlalchemy as sa

import besana
import besana.catalog as tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(folder, source, text="", **overrides):
    workspace = besana.Workspace.create(folder, text)
    collect = {"source": [str(source)], "in_place": True, **overrides.pop("collect", {})}
    return workspace, {"collect": collect, **overrides}


def test_seedlings_probe_learns_twelve_classes(real_images, weights, tmp_path):
    workspace, overrides = start(
        tmp_path,
        real_images / "seedlings",
        split={"split_column": "split"},
        train={
            "strategy": "probe",
            "backbone": "timm/mobilenetv2_100",
            "weights": str(weights),
            "backbone_options": {"pad_type": "same"},
        },
    )
    reports = besana.run(workspace, last="evaluate", overrides=overrides)
    assert reports["collect"].counts_out == 1200
    assert len(workspace.catalog.counted(tables.labels)) == 12
    assert reports["evaluate"].facts["accuracy_share"] > 0.6


def test_turned_copies_of_rice_leaves_stay_in_one_group(real_images, tmp_path):
    import pyarrow.parquet as pq

    workspace, overrides = start(
        tmp_path,
        real_images / "rice-leaf",
        split={"method": "fractions", "group_by": "name", "group_pattern": GROUP},
    )
    besana.run(workspace, last="split", overrides=overrides)
    path = workspace.datasets.local_path("default/1/manifest.parquet")
    rows = pq.read_table(path, columns=["frame_id", "group", "split"]).to_pylist()
    f = tables.frames.c
    names = {row.id: row.name for row in workspace.catalog.rows(sa.select(f.id, f.name))}
    leaves: dict[str, set[int]] = {}
    for row in rows:
        leaf = names[row["frame_id"]].replace("_rot", "").rsplit(".", 1)[0]
        leaves.setdefault(leaf, set()).add(row["group"])
    assert len(leaves) < len(rows)
    assert all(len(groups) == 1 for groups in leaves.values())


GROUP = r"(.*?)(?:_rot.*)?\.[A-Za-z]+$"


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
