"""DALI and Grain read our TFRecord files back: same records, same order, byte for byte."""

import json
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

from besana.shards import Manifest
from besana.shards.example import parse_example
from besana.shards.export import export_tfrecord
from besana.shards.indexing import records
from besana.storage import open_storage

pytestmark = pytest.mark.slow

# Each reads in a process of its own: none of them shares one with torch or TensorFlow gladly.
GRAIN = """
import json, sys
from hashlib import sha256
from grain.experimental import TFRecordIterDataset
read = (record for path in sys.argv[1:] for record in TFRecordIterDataset(path))
print(json.dumps([sha256(record).hexdigest() for record in read]))
"""
DALI = """
import json, sys
from hashlib import sha256
from pathlib import Path
import numpy as np
from nvidia.dali import fn, pipeline_def, tfrecord, types
paths = sys.argv[1:]
indexes = []
for path in paths:  # DALI's own index: where each record starts, and its bytes
    data, at, lines = Path(path).read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little") + 16
        lines.append(f"{at} {size}")
        at += size
    indexes.append(path + ".idx")
    Path(indexes[-1]).write_text("\\n".join(lines) + "\\n")
@pipeline_def(batch_size=10, num_threads=2, device_id=None)
def pictures():
    read = fn.readers.tfrecord(path=paths, index_path=indexes, features={
        "image/encoded": tfrecord.FixedLenFeature((), tfrecord.string, ""),
        "image/class/label": tfrecord.FixedLenFeature([1], tfrecord.int64, -1),
    })
    encoded = read["image/encoded"]
    return encoded, read["image/class/label"], fn.decoders.image(encoded, device="cpu")
pipeline = pictures()
pipeline.build()
found = []
for _ in range(10):
    encoded, labels, pixels = pipeline.run()
    for n in range(10):
        data, label = np.asarray(encoded.at(n)).tobytes(), int(np.asarray(labels.at(n))[0])
        found.append([sha256(data).hexdigest(), label, list(np.asarray(pixels.at(n)).shape)])
print(json.dumps(found))
"""


def needs(module: str) -> pytest.MarkDecorator:
    is_there = find_spec(module.partition(".")[0]) and find_spec(module)
    return pytest.mark.skipif(not is_there, reason=f"needs {module}: make slow installs it")


def read_by(script: str, folder: Path) -> list[object]:
    paths = sorted(str(path) for path in folder.glob("*.tfrecord"))
    done = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def exported(hundred: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_tfrecord(hundred, hundred.storage, open_storage(folder), shard_bytes=20_000)
    return folder


def every_record(folder: Path) -> list[bytes]:
    storage = open_storage(folder)
    names = sorted(path.name for path in folder.glob("*.tfrecord"))
    assert len(names) > 3
    return [bytes(data) for name in names for _, data in records(storage, name)]


@needs("grain")
def test_grain_reads_every_record_back(exported: Path) -> None:
    expected = [sha256(data).hexdigest() for data in every_record(exported)]

    assert len(expected) == 100
    assert read_by(GRAIN, exported) == expected


@needs("nvidia.dali")
def test_dali_reads_pictures_and_labels_back(exported: Path) -> None:
    expected = []
    for data in every_record(exported):
        example = parse_example(data)
        (encoded,), (label,) = example["image/encoded"], example["image/class/label"]
        assert isinstance(encoded, bytes)
        expected.append([sha256(encoded).hexdigest(), label, [40, 48, 3]])

    assert read_by(DALI, exported) == expected
