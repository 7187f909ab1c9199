"""Class folders become shards: everything the loader needs, from the folders alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from shard_farm import jpeg, png, smooth_picture
from typing_extensions import override

from besana.cli import main
from besana.engines import Engine
from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.images.segments import part_under
from besana.shards import Loader, index, open_manifest, pack
from besana.shards.pack_files import list_files
from besana.shards.packing import PackSettings, pack_shard
from besana.storage import open_storage

CLASSES = ("bare", "cow", "empty")


class Here(Engine):
    """Work in this process: starting another takes longer than all that is packed here."""

    workers, peak_memory_bytes = 1, 0

    @override
    def map(self, function: Any, partitions: Any, *, on_death: Any = None) -> Any:
        return map(function, partitions)


class Dying(Here):
    """Lose the worker at one file, as `LocalEngine` does: halve until it is found."""

    def __init__(self, name: str) -> None:
        self.name = name

    @override
    def map(self, function: Any, partitions: Any, *, on_death: Any = None) -> Any:
        waiting = list(partitions)
        while waiting:
            jobs = waiting.pop()
            if not any(job.path.endswith(self.name) for job in jobs):
                yield function(jobs)
            elif len(jobs) == 1:
                yield on_death(jobs[0])
            else:
                waiting += [jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]]


@pytest.fixture
def one() -> Any:
    return Here()


def pictures(folder: Path, count: int = 30, below: str = "") -> Path:
    for number in range(count):
        name = CLASSES[number % 3]
        path = folder / below / name / f"{number:03d}.{'jpg' if number % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        encode = jpeg if number % 2 else png
        path.write_bytes(encode(smooth_picture(number * 5, 60 + number, 96)))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_class_folders_load(tmp_path: Path, one: Any) -> None:
    packed = pack(pictures(tmp_path / "in"), tmp_path / "out", engine=one)
    manifest = open_manifest(tmp_path / "out/manifest.parquet")

    assert packed == (30, CLASSES, {"train": 30}, {})
    assert manifest.classes == CLASSES
    with Loader(manifest, "train", 30, 32, shuffle="none", threads=1) as loader:
        (batch,) = loader
    numbers = [int(name.split("/")[1][:3]) for name in manifest.sample_ids(range(30))]
    assert sorted(numbers) == list(range(30))
    assert numbers != list(range(30))
    assert batch.labels.tolist() == [number % 3 for number in numbers]
    red = batch.images[..., 0].mean(axis=(1, 2))
    assert red.tolist() == pytest.approx([5 * number for number in numbers], abs=2)


def test_packed_pictures_decode_in_parts_at_working_resolution(tmp_path: Path, one: Any) -> None:
    pack(pictures(tmp_path / "in", 6), tmp_path / "out", engine=one, size_px=32, quality=95)
    manifest = open_manifest(tmp_path / "out/manifest.parquet")

    sides = np.minimum(manifest.height_px, manifest.width_px)
    assert sides.tolist() == [32] * 6
    for position in range(6):
        place = manifest.location(position)
        data = manifest.storage.read_range(
            place.shard, place.payload_offset_bytes, place.payload_length_bytes
        )
        sizes = int(manifest.height_px[position]), int(manifest.width_px[position])
        assert part_under(memoryview(data), *sizes, (0, 0, 8, 8)) is not None


def test_splits_come_from_folders(tmp_path: Path, one: Any) -> None:
    pictures(tmp_path / "in", 9, "train")
    pictures(tmp_path / "in", 6, "val")
    pictures(tmp_path / "in", 3, "test")
    packed = pack(tmp_path / "in", tmp_path / "out", engine=one)

    assert packed.splits == {"train": 9, "validation": 6, "test": 3}
    manifest = open_manifest(tmp_path / "out/manifest.parquet")
    names = manifest.sample_ids(manifest.select("validation"))
    assert {name.split("/")[0] for name in names} == {"val"}
    assert index(tmp_path / "out", manifest_key="again.parquet").samples == 18
    again = open_manifest(tmp_path / "out/again.parquet")
    assert len(again.select("validation")) == 6


def test_a_share_to_validate_with_depends_on_names_alone(tmp_path: Path) -> None:
    def validation(folder: Path) -> set[str]:
        files = list_files(folder, "", 0.3)
        jobs = [job for shard in files.shards(1 << 20, 1.0) for job in shard]
        files.close()
        return {job.path for job in jobs if job.shard.startswith("validation")}

    few = validation(pictures(tmp_path / "few", 40))
    more = validation(pictures(tmp_path / "more", 60))
    assert 4 <= len(few) <= 20
    assert few == {path for path in more if int(path.split("/")[1][:3]) < 40}


def test_a_split_beside_classes_is_refused(tmp_path: Path, one: Any) -> None:
    pictures(tmp_path / "in", 3, "train")
    pictures(tmp_path / "in", 3)
    with pytest.raises(ConfigError, match=r"lies beside the folders of splits \(train\)"):
        pack(tmp_path / "in", tmp_path / "out", engine=one)


def test_a_share_beside_a_folder_to_validate_with_is_refused(tmp_path: Path, one: Any) -> None:
    pictures(tmp_path / "in", 3, "train")
    pictures(tmp_path / "in", 3, "valid")
    with pytest.raises(ConfigError, match=r"a share of .* as well"):
        pack(tmp_path / "in", tmp_path / "out", engine=one, validation_share=0.1)


def test_a_folder_without_pictures_is_named(tmp_path: Path, one: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("none")
    with pytest.raises(NotFoundError, match="No picture in"):
        pack(tmp_path / "in", tmp_path / "out", engine=one)


def test_bad_files_are_named_and_too_many_stop(tmp_path: Path, one: Any) -> None:
    folder = pictures(tmp_path / "in", 12)
    (folder / "cow/cut.jpg").write_bytes((folder / "cow/001.jpg").read_bytes()[:300])
    (folder / "cow/text.png").write_bytes(b"no picture")
    with pytest.raises(CorruptDataError, match=r"2 of 14 files cannot be packed \(.*\), as cow/"):
        pack(folder, tmp_path / "out", engine=one)
    assert not (tmp_path / "out/manifest.parquet").exists()

    packed = pack(folder, tmp_path / "out", engine=one, max_dropped_share=0.5)
    assert packed.samples == 12
    assert sum(packed.skipped.values()) == 2
    listed = (tmp_path / "out/skipped.csv").read_text().split()
    assert sorted(line.split(",")[0] for line in listed[1:]) == ["cow/cut.jpg", "cow/text.png"]


def test_a_killed_packing_goes_on_and_a_finished_one_stays(tmp_path: Path, one: Any) -> None:
    folder = pictures(tmp_path / "in", 200)
    pack(folder, tmp_path / "whole", engine=one)
    whole = files_of(tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(count: int) -> None:
        done.append(count)
        if len(done) == 2:
            raise StoppedError

    done: list[int] = []
    with pytest.raises(StoppedError):
        pack(folder, tmp_path / "out", engine=one, advance=stop)
    assert not (tmp_path / "out/manifest.parquet").exists()
    (half,) = (tmp_path / "out").glob("*00001-of-*.tfrecord")
    half.unlink()  # as if the disk had lost it

    done = [0, 0]
    assert pack(folder, tmp_path / "out", engine=one, advance=done.append).samples == 200
    assert sum(done) == 200
    assert files_of(tmp_path / "out") == whole
    assert pack(folder, tmp_path / "out", engine=one).samples == 200
    assert files_of(tmp_path / "out") == whole


def test_another_packing_or_folder_is_not_overwritten(tmp_path: Path, one: Any) -> None:
    folder = pictures(tmp_path / "in", 6)
    pack(folder, tmp_path / "out", engine=one)
    with pytest.raises(ConfigError, match="packed from other settings"):
        pack(folder, tmp_path / "out", engine=one, quality=80)
    (folder / "cow/new.png").write_bytes(png(smooth_picture(1)))
    with pytest.raises(ConfigError, match="packed from files that changed since"):
        pack(folder, tmp_path / "out", engine=one)
    with pytest.raises(ConfigError, match="holds something else"):
        pack(folder, folder / "cow", engine=one)


def test_what_a_part_of_a_shard_left_is_packed_again(tmp_path: Path, one: Any) -> None:
    """A death halves a shard; if the run is then killed too, nothing is counted twice."""
    folder = pictures(tmp_path / "in", 12)
    out = open_storage(tmp_path / "out")
    files = list_files(folder, "", 0.0)
    (jobs,) = files.shards(64 << 20, 1.0)
    files.close()
    mark = {"format": 1, "files": files.fingerprint}
    mark["settings"] = PackSettings().model_dump(exclude={"max_dropped_share"})
    out.write("besana-pack.json", json.dumps(mark).encode())
    pack_shard(jobs[6:], root=str(folder), out=out, settings=PackSettings())
    assert (tmp_path / f"out/{jobs[0].shard}.from-6.tfrecord").exists()

    assert pack(folder, out, engine=one).samples == 12
    assert [p.name for p in (tmp_path / "out").glob("*.tfrecord")] == [f"{jobs[0].shard}.tfrecord"]


def test_a_picture_that_ends_the_process_is_left_out(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 12)
    packed = pack(folder, tmp_path / "out", engine=Dying("004.png"), max_dropped_share=0.1)
    manifest = open_manifest(tmp_path / "out/manifest.parquet")

    assert (packed.samples, packed.skipped) == (11, {"decoder_died": 1})
    assert (tmp_path / "out/skipped.csv").read_text().split()[1] == "cow/004.png,decoder_died"
    names = {int(name.split("/")[1][:3]) for name in manifest.sample_ids(range(11))}
    assert names == set(range(12)) - {4}
    with Loader(manifest, "train", 11, 32, threads=1) as loader:
        assert len(list(loader)) == 1


def test_names_that_are_not_utf8_are_written_so_that_they_can_be_seen(
    tmp_path: Path, one: Any
) -> None:
    folder = pictures(tmp_path / "in", 3)
    strange = os.fsencode(folder) + b"/cow/caf\xe9.png"
    with open(strange, "wb") as file:
        file.write(png(smooth_picture(1)))
    assert pack(folder, tmp_path / "out", engine=one).samples == 4

    manifest = open_manifest(tmp_path / "out/manifest.parquet")
    assert "cow/caf\\xe9.png/all" in manifest.sample_ids(range(4))


def test_deep_and_float_pictures_keep_their_values(tmp_path: Path, one: Any) -> None:
    heights = np.linspace(-4, 250, 40 * 48, dtype=np.float32).reshape(40, 48)
    deep = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 30
    for name, pixels in (("float", heights), ("deep", deep)):
        (tmp_path / name / "a").mkdir(parents=True)
        tifffile.imwrite(tmp_path / name / "a/1.tif", pixels)
        pack(tmp_path / name, tmp_path / f"{name}-out", engine=one)
    settings: Any = {"batch_size": 1, "size": (40, 48), "threads": 1, "shuffle": "none"}
    with Loader(tmp_path / "float-out/manifest.parquet", dtype="float32", **settings) as loader:
        assert (next(iter(loader)).images[0, :, :, 0] == heights).all()
    with Loader(tmp_path / "deep-out/manifest.parquet", dtype="uint16", **settings) as loader:
        assert (next(iter(loader)).images[0, :, :, 0] == deep).all()


def test_the_commands_pack_index_and_say_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "in", 6)
    with pytest.raises(SystemExit) as left:
        main(["pack", "in", "--size-px", "32", "--workers", "1"])
    assert left.value.code == 0
    assert "6 pictures of 3 classes packed: 6 train." in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["index", "in-shards", "--manifest", "mine.parquet"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert "6 samples of 3 classes in 1 shards." in shown
    assert 'Loader("in-shards/mine.parquet")' in shown
    assert len(open_manifest("in-shards/mine.parquet")) == 6


def test_packing_needs_no_training_library(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom besana.shards import pack, index\n"
        "index, pack\n"
        "print([n for n in ('torch', 'sklearn', 'mlflow', 'besana.workspace') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
