"""Embeddings are written once, survive a kill, and come back in any order."""

import numpy as np
import pytest

from besana.commands.embed import Config, run
from besana.costs.bills import read_lines
from besana.errors import CorruptDataError
from besana.learning.embeddings import Embedder, Embeddings, backbone_key, embed, sample_keys
from besana.learning.feature_file import gather
from besana.models.network import Backbone, build
from besana.workspace import Workspace
from small_dataset import add_samples, freeze_dataset, stripes

BACKBONE = Backbone("timm/test_byobnet", size_px=32)
FEATURES = 256


@pytest.fixture
def workspace(tmp_path):
    return Workspace.create(tmp_path / "farm")


@pytest.fixture
def built():
    return build(BACKBONE, classes=2, seed=1)


def _dataset(workspace, count=30):
    images, labels = stripes(count)
    rows = add_samples(workspace, images)
    return images, freeze_dataset(workspace, rows, labels, ["train"] * count)


def _open(workspace, built):
    return Embeddings(workspace.embeddings.below(backbone_key(BACKBONE, built)), FEATURES)


def test_each_sample_is_embedded_once(workspace, built):
    _, dataset = _dataset(workspace)
    manifest, embeddings = dataset.manifest(), _open(workspace, built)

    embed(embeddings, built, manifest, np.arange(10), workspace.shards)
    embed(embeddings, built, manifest, np.arange(30), workspace.shards)
    embed(embeddings, built, manifest, np.arange(30), workspace.shards)

    assert len(embeddings) == 30
    assert [len(block.keys) for block in _open(workspace, built).blocks()] == [10, 20]


def test_vectors_are_gathered_in_the_datasets_order(workspace, built, tmp_path):
    images, dataset = _dataset(workspace)
    manifest, embeddings = dataset.manifest(), _open(workspace, built)
    for part in (np.arange(20, 30), np.arange(3), np.arange(0, 30, 2)):
        embed(embeddings, built, manifest, part, workspace.shards)
    chosen = np.array([1, 2, 4, 20, 25, 28, 29])

    features = gather(embeddings, manifest, chosen, tmp_path / "features")

    expected = Embedder(built, "cpu").vectors(images[chosen]).astype(np.float32)
    assert features.found.all()
    assert features.rows(np.arange(7)) == pytest.approx(expected, abs=2e-3)
    assert features.rows(np.array([2, 5])) == pytest.approx(expected[[2, 5]], abs=2e-3)
    targets = np.eye(7, dtype=np.float32)
    [(block, beside)] = features.blocks(targets)
    assert np.array_equal(block, features.rows(np.arange(7)))
    assert np.array_equal(beside, targets)


def test_samples_without_a_vector_are_left_out(workspace, built, tmp_path):
    _, dataset = _dataset(workspace)
    manifest, embeddings = dataset.manifest(), _open(workspace, built)
    embed(embeddings, built, manifest, np.array([0, 2]), workspace.shards)

    features = gather(embeddings, manifest, np.arange(4), tmp_path / "features")

    assert features.found.tolist() == [True, False, True, False]
    [(block, _)] = features.blocks(np.zeros((4, 2), np.float32))
    assert len(block) == 2


def test_block_that_the_index_does_not_count_is_written_again(workspace, built):
    _, dataset = _dataset(workspace)
    manifest, embeddings = dataset.manifest(), _open(workspace, built)
    embed(embeddings, built, manifest, np.arange(10), workspace.shards)
    storage = workspace.embeddings.below(backbone_key(BACKBONE, built))
    storage.write("000001.parquet", b"half a block")

    again = _open(workspace, built)
    embed(again, built, manifest, np.arange(12), workspace.shards)

    assert len(again.known()) == 12


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format": 1, "features": 7, "rows": [1]}'])
def test_foreign_index_is_refused(workspace, built, text):
    workspace.embeddings.below(backbone_key(BACKBONE, built)).write("index.json", text)

    with pytest.raises(CorruptDataError, match="Delete the folder"):
        _open(workspace, built)


def test_damaged_block_is_noticed(workspace, built):
    _, dataset = _dataset(workspace)
    embed(_open(workspace, built), built, dataset.manifest(), np.arange(30), workspace.shards)
    path = workspace.embeddings.local_path(f"{backbone_key(BACKBONE, built)}/000000.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(CorruptDataError, match="are corrupt"):
        list(_open(workspace, built).blocks())


def test_key_of_a_backbone_changes_with_anything_that_changes_a_vector(built):
    other_size = build(Backbone("timm/test_byobnet", size_px=64), classes=2)

    assert backbone_key(BACKBONE, built).startswith("test_byobnet-32px-")
    keys = {
        backbone_key(BACKBONE, built),
        backbone_key(BACKBONE, built, seed=1),
        backbone_key(Backbone("timm/test_byobnet", options={"a": 1}), built),
        backbone_key(BACKBONE, other_size),
    }
    assert len(keys) == 4


def test_key_of_a_sample_changes_with_its_bytes():
    rows = [{"frame_id": "a", "region": "b"}] * 2

    keys = sample_keys(rows, np.array([1, 2], np.uint32))

    assert keys[0] != keys[1]


def test_embed_command_goes_through_all_samples_and_does_nothing_twice(workspace, capsys):
    images, _ = stripes(30)
    add_samples(workspace, images[:20])
    config = Config(backbone="timm/test_byobnet", weights="random", size_px=32, threads=1)

    [place] = run(workspace, config)
    add_samples(workspace, images[20:], shard="b.tfrecord")
    run(workspace, config)
    run(workspace, config)

    assert [line.split(" samples")[0] for line in capsys.readouterr().out.splitlines()] == [
        "20",
        "10",
        "0",
    ]
    bills = read_lines(workspace)
    assert [(bill["stage"], bill["items"]) for bill in bills] == [("embed", n) for n in (20, 10, 0)]
    # What the first took is what the next are planned by.
    assert [bill["planned"]["runs"] for bill in bills] == [0, 1, 2]
    assert len(Embeddings(workspace.embeddings.below(place.rpartition("/")[2]), FEATURES)) == 30
