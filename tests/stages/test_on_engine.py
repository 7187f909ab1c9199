"""What an engine embeds and exports is, byte for byte, what one machine makes."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from inline_engine import Inline

from besana.commands import embed, export
from besana.errors import BesanaError, CorruptDataError
from besana.learning.embeddings import Embeddings
from besana.learning.on_engine import Embedding, embed_rows, whole_batches
from besana.models.network import Backbone
from besana.shards.export import opened_manifest
from besana.workspace import Workspace
from small_dataset import add_samples, freeze_dataset, stripes

FEATURES = 256
CONFIG = embed.Config(
    backbone="timm/test_byobnet", weights="random", size_px=32, batch_size=8, threads=1
)


def farm_of(folder: Path, count: int = 45) -> Workspace:
    workspace = Workspace.create(folder)
    add_samples(workspace, stripes(count)[0])
    return workspace


def vectors_of(workspace: Workspace, url: str) -> dict[tuple[str, str], bytes]:
    """Give each sample's vector, as it lies in the blocks that the index counts."""
    storage = workspace.embeddings.below(url.rpartition("/")[2])
    counted = Embeddings(storage, FEATURES)
    found = {}
    for key in (key for key in storage.list() if key.endswith(".parquet")):
        for row in pq.read_table(io.BytesIO(storage.read(key))).to_pylist():
            found[row["frame_id"], row["region"]] = np.float16(row["vector"]).tobytes()
    assert len(counted) == len(found)
    return found


def test_an_engine_leaves_the_vectors_that_one_machine_makes(tmp_path, monkeypatch):
    monkeypatch.setattr("besana.learning.on_engine._ROWS", 16)
    here, there = farm_of(tmp_path / "here"), farm_of(tmp_path / "there")
    [expected] = embed.run(here, CONFIG)
    [found] = embed.run(there, CONFIG, Inline())
    assert vectors_of(there, found) == vectors_of(here, expected)
    assert len(vectors_of(there, found)) == 45


def test_an_engine_embeds_what_is_missing_and_nothing_twice(tmp_path, capsys):
    farm = farm_of(tmp_path / "farm", 20)
    [place] = embed.run(farm, CONFIG, Inline())
    add_samples(farm, stripes(30)[0][20:], shard="b.tfrecord")
    embed.run(farm, CONFIG, Inline())
    embed.run(farm, CONFIG)
    said = [line.split(" samples")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["20", "10", "0"]
    assert len(vectors_of(farm, place)) == 30


def test_a_partition_that_ran_twice_is_one_block(tmp_path):
    farm = farm_of(tmp_path / "farm", 10)

    class Twice(Inline):
        def map(self, function, partitions, *, on_death=None):
            for partition in partitions:
                function(partition)
                yield function(partition)

    [place] = embed.run(farm, CONFIG, Twice())
    assert len(vectors_of(farm, place)) == 10


def test_other_weights_than_the_drivers_are_refused(tmp_path):
    farm = farm_of(tmp_path / "farm", 10)
    job = Embedding(
        backbone=Backbone("timm/test_byobnet", size_px=32),
        channels=3,
        key="test_byobnet-32px-ffffffff",
        shards=farm.shards,
        embeddings=farm.embeddings,
        device="cpu",
        batch_size=8,
        threads=1,
    )
    with pytest.raises(BesanaError, match="other weights"):
        embed_rows([], job=job)


@pytest.mark.parametrize(("count", "batch"), [(0, 32), (5, 32), (1030, 32), (4096, 32), (999, 7)])
def test_partitions_have_the_batches_of_the_page(count, batch):
    page = [{"number": number} for number in range(count)]
    parts = list(whole_batches(page, batch))
    assert [row for part in parts for row in part] == page
    assert all(len(part) % batch == 0 for part in parts[:-1])
    assert all(len(part) >= min(batch, count) for part in parts)


@pytest.mark.parametrize("what", ["tfrecord", "folders"])
def test_an_engine_exports_the_same_files(tmp_path, what, monkeypatch):
    monkeypatch.setattr("besana.commands.export._BATCH", 7)
    farm = Workspace.create(tmp_path / "farm")
    images, labels = stripes(30)
    rows = add_samples(farm, images)
    dataset = freeze_dataset(farm, rows, labels, ["train"] * 20 + ["test"] * 10)
    assert dataset.samples == 30
    content = []
    for number, engine in enumerate((None, Inline())):
        out = tmp_path / f"copy-{number}"
        assert export.run(farm, export.Config(what=what, out=str(out)), engine) == 30
        content.append({str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.*")})
    assert content[0] == content[1]
    assert len(content[0]) > 3


def test_a_manifest_that_changed_meanwhile_is_refused(tmp_path):
    farm = Workspace.create(tmp_path / "farm")
    images, labels = stripes(4)
    dataset = freeze_dataset(farm, add_samples(farm, images), labels, ["train"] * 4)
    manifest = dataset.manifest()
    with pytest.raises(CorruptDataError, match="not the manifest"):
        opened_manifest(manifest.storage.url, manifest.key, "another")
