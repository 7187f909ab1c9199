"""Write a picture set in the format that a contender reads: the same JPEG bytes in each.

Run by `run.py`: python formats.py FORMAT FOLDER
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pictures import QUALITY, SETS, pictures

SHARDS = 8


def files_of(folder: Path) -> list[Path]:
    """List the JPEG files of a set, as `jpeg` wrote them."""
    return sorted((folder / "jpeg").glob("*/*.jpg"))


def jpeg(folder: Path) -> None:
    """Write class folders of plain JPEG, as ImageFolder reads them."""
    import simplejpeg

    for number, pixels in enumerate(pictures(SETS[folder.name])):
        path = folder / "jpeg" / f"class{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420"))


def tfrecord(folder: Path) -> None:
    """Write the same bytes into TFRecord shards with besana's manifest."""
    _shards(folder, "tfrecord", lambda path: path.read_bytes())


def parts(folder: Path) -> None:
    """Write TFRecord shards of JPEG that decodes in parts, as `prepare` and `pack` do."""
    from besana.images.encode import encode_jpeg

    encoded = (encode_jpeg(pixels, QUALITY) for pixels in pictures(SETS[folder.name]))
    _shards(folder, "parts", lambda _: next(encoded))


def _shards(folder: Path, name: str, read: Callable[[Path], bytes]) -> None:
    from besana.shards import ManifestWriter, ShardWriter
    from besana.shards.writer import Location, sample_example
    from besana.storage import open_storage

    storage, chosen = open_storage(folder / name), SETS[folder.name]
    size = {"height_px": chosen.height, "width_px": chosen.width, "channels": 3}
    files, each = files_of(folder), -(-chosen.count // SHARDS)
    with ManifestWriter(storage) as manifest:
        for shard in range(SHARDS):
            with ShardWriter(storage, f"train-{shard}.tfrecord") as writer:
                for path in files[shard * each : (shard + 1) * each]:
                    encoded = read(path)
                    example = sample_example(path.stem, encoded, image_format="jpeg", **size)
                    example["image/class/label"] = label_of(path)
                    place = writer.add(example)
                    row = {field: getattr(place, field) for field in Location.__slots__}
                    more = {"frame_id": path.stem, "split": "train", "label": label_of(path)}
                    manifest.write([row | size | more])


def label_of(path: Path) -> int:
    """Tell the class of a file."""
    return int(path.parent.name.removeprefix("class"))


def samples(folder: Path) -> Iterator[tuple[bytes, int]]:
    """Give the bytes and class of each picture."""
    for path in files_of(folder):
        yield path.read_bytes(), label_of(path)


def tar(folder: Path) -> None:
    """Write the tar files that WebDataset reads."""
    (folder / "tar").mkdir()
    found = list(samples(folder))
    each = -(-len(found) // SHARDS)
    for shard in range(SHARDS):
        with tarfile.open(folder / "tar" / f"{shard:05d}.tar", "w") as archive:
            for number, (data, label) in enumerate(found[shard * each : (shard + 1) * each]):
                for ending, content in (("jpg", data), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{shard:02d}{number:06d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def mds(folder: Path) -> None:
    """Write the shards that MosaicML Streaming reads."""
    from streaming import MDSWriter

    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(folder / "mds"), columns=columns, size_limit=1 << 25) as writer:
        for data, label in samples(folder):
            writer.write({"image": data, "label": label})


def litdata(folder: Path) -> None:
    """Write the chunks that LitData reads."""
    from litdata.streaming.writer import BinaryWriter

    (folder / "litdata").mkdir()
    writer = BinaryWriter(str(folder / "litdata"), chunk_bytes=1 << 25)
    for number, (data, label) in enumerate(samples(folder)):
        writer.add_item(number, {"image": data, "label": label})
    writer.done()
    writer.merge()


def arrow(folder: Path) -> None:
    """Write the folder that Hugging Face datasets reads."""
    import datasets

    rows = list(samples(folder))
    columns = {"image": [data for data, _ in rows], "label": [label for _, label in rows]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(folder / "arrow"))


def lance(folder: Path) -> None:
    """Write the table that Lance reads."""
    import lance as library
    import pyarrow as pa

    rows = list(samples(folder))
    table = pa.table({"image": [data for data, _ in rows], "label": [label for _, label in rows]})
    library.write_dataset(table, str(folder / "lance"))


def arrayrecord(folder: Path) -> None:
    """Write the file that Grain reads."""
    from array_record.python.array_record_module import ArrayRecordWriter

    (folder / "arrayrecord").mkdir()
    writer = ArrayRecordWriter(str(folder / "arrayrecord" / "a.arrayrecord"), "group_size:1")
    for data, _ in samples(folder):
        writer.write(data)
    writer.close()


FORMATS = {
    made.__name__: made
    for made in (jpeg, tfrecord, parts, tar, mds, litdata, arrow, lance, arrayrecord)
}


def main() -> None:
    """Write one format, whole or not at all."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    done = folder / f".{name}"
    if not done.exists():
        shutil.rmtree(folder / name, ignore_errors=True)
        FORMATS[name](folder)
        done.touch()


if __name__ == "__main__":
    main()
