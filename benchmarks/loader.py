"""How fast the loader is beside tf.data on the same TFRecord files, and beside the bare decoder.

Run: python benchmarks/loader.py [--pictures 1000] [--repeats 3]

Every contender runs in a process of its own, in turn, several times; the page cache is warm.
Work: shuffled epochs, read + check + decode + random crop (35 to 100 % of the area, ratio 3/4
to 4/3) to 224 px + flip, uint8 batches of 64. A rate is what the first to the last batch took,
over several epochs. Compare the ratios of one run: rates differ from machine to machine. Where
other programs run beside, rates say who has more threads; then look at the processor time a
picture, whose ratio is in the column "by CPU".
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SIZE, BATCH = 224, 64
AREA, RATIO = (0.35, 1.0), (3 / 4, 4 / 3)
SETS = {"256 px": (256, 341, 2), "500x375": (375, 500, 2), "1280x960": (960, 1280, 5)}
CONTENDERS = ("bare decode", "besana", "tf.data")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Make the pictures, run everyone in turn, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000, help="pictures of the smallest set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder, options.epochs)))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            rows += compare(name, Path(folder) / name.replace(" ", ""), options)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "loader.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} processors, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, see {RESULTS}")


def compare(name: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one set of pictures; print and return a row for each contender."""
    height, width, share = SETS[name]
    mean_bytes = write_pictures(folder, options.pictures * 2 // share, height, width)
    print(f"\n{name}, {mean_bytes / 1000:.0f} KB a picture")
    print(f"{'':14}{'pictures/s':>11}{'spread':>9}{'x tf.data':>11}{'by CPU':>9}", end="")
    print(f"{'x ceiling':>11}{'CPU ms':>9}{'MB':>7}{'first s':>9}")
    found: dict[str, list[dict[str, float]]] = {contender: [] for contender in CONTENDERS}
    for _ in range(options.repeats):
        for contender in CONTENDERS:
            found[contender].append(run_apart(contender, folder, options.epochs))
    rates = {c: [run["rate"] for run in runs] for c, runs in found.items()}
    thrift = {c: [1 / run["cpu_ms"] for run in runs] for c, runs in found.items()}
    rows = []
    for contender in CONTENDERS:
        row = {
            "set": name,
            "contender": contender,
            "pictures_per_s": statistics.median(rates[contender]),
            "spread": (max(rates[contender]) - min(rates[contender])) / max(rates[contender]),
            "to_tf_data": ratio(rates[contender], rates["tf.data"]),
            "to_tf_data_by_cpu": ratio(thrift[contender], thrift["tf.data"]),
            "to_ceiling": ratio(rates[contender], rates["bare decode"]),
            **{
                key: statistics.median(run[key] for run in found[contender])
                for key in ("cpu_ms", "held_mb", "first_s")
            },
        }
        rows.append(row)
        print(f"{contender:14}{row['pictures_per_s']:>11.0f}{row['spread']:>9.0%}", end="")
        print(f"{row['to_tf_data']:>11.2f}{row['to_tf_data_by_cpu']:>9.2f}", end="")
        print(f"{row['to_ceiling']:>11.2f}{row['cpu_ms']:>9.2f}", end="")
        print(f"{row['held_mb']:>7.0f}{row['first_s']:>9.2f}", flush=True)
    return rows


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Take the median of the ratios of neighbouring runs, so that slow spells cancel out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def run_apart(contender: str, folder: Path, epochs: int) -> dict[str, float]:
    """Measure one contender in a process of its own."""
    command = [sys.executable, __file__, "--one", contender, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--epochs", str(epochs)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
    )
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(contender: str, folder: Path, epochs: int) -> dict[str, float]:
    """Run one contender over some epochs and take its figures."""
    opened: dict[str, Callable[[Path, int], Iterable[Any]]] = {
        "bare decode": bare_decode,
        "besana": besana,
        "tf.data": tf_data,
    }
    batches = iter(opened[contender](folder, epochs))
    started, cpu = time.perf_counter(), processor_s()
    next(batches)
    first = time.perf_counter()
    count = 0
    last = first
    for batch in batches:
        count += len(batch)
        last = time.perf_counter()
    return {
        "rate": count / (last - first),
        "cpu_ms": 1000 * (processor_s() - cpu) / (count + BATCH),
        "held_mb": held_mb(),
        "first_s": first - started,
    }


def processor_s() -> float:
    """Tell the processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def held_mb() -> float:
    """Tell the memory that is this process's own, without mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1000


def besana(folder: Path, epochs: int) -> Iterator[Any]:
    """Stream with besana's loader, its own defaults."""
    from besana.shards import Augment, Loader

    def batches() -> Iterator[Any]:
        augment = Augment(crop_area_share=AREA, crop_ratio=RATIO)
        with Loader(
            folder / "manifest.parquet", batch_size=BATCH, size=SIZE, augment=augment, fit="crop"
        ) as loader:
            for _ in range(epochs):
                for batch in loader:
                    yield batch.images

    return batches()


def tf_data(folder: Path, epochs: int) -> Iterable[Any]:
    """Stream with tf.data as its guides recommend: interleave, AUTOTUNE, decode_and_crop_jpeg."""
    import tensorflow as tf

    auto = tf.data.AUTOTUNE
    whole = tf.zeros([1, 0, 4])
    features = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}

    def picture(record: Any) -> Any:
        encoded = tf.io.parse_single_example(record, features)["image/encoded"]
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(encoded),
            whole,
            area_range=AREA,
            aspect_ratio_range=RATIO,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
            min_object_covered=0.0,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        pixels = tf.io.decode_and_crop_jpeg(encoded, window, channels=3)
        pixels = tf.image.resize(pixels, [SIZE, SIZE])
        return tf.cast(tf.image.random_flip_left_right(pixels), tf.uint8)

    paths = sorted(str(path) for path in folder.glob("*.tfrecord"))
    stream = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    stream = stream.interleave(
        tf.data.TFRecordDataset, num_parallel_calls=auto, deterministic=False
    )
    stream = stream.shuffle(500).repeat(epochs)
    stream = stream.map(picture, num_parallel_calls=auto, deterministic=False)
    return stream.batch(BATCH, drop_remainder=True).prefetch(auto).as_numpy_iterator()


def bare_decode(folder: Path, epochs: int) -> Iterator[Any]:
    """Do nothing but decode, on all processors, at the scales that the same crops need."""
    import simplejpeg

    from besana.shards import Augment, open_manifest
    from besana.shards.augment import draw_changes
    from besana.shards.decoding import jpeg_scale
    from besana.shards.memory import usable_processors

    manifest = open_manifest(folder / "manifest.parquet")
    everyone = np.arange(len(manifest))
    height, width = int(manifest.height_px[0]), int(manifest.width_px[0])
    relative = np.full(len(manifest), width / height)
    augment = Augment(crop_area_share=AREA, crop_ratio=RATIO)
    boxes = draw_changes(augment, everyone, everyone * 0, relative, 0).box.tolist()
    places = [manifest.location(n) for n in everyone]
    payloads = [
        manifest.storage.read_range(p.shard, p.payload_offset_bytes, p.payload_length_bytes)
        for p in places
    ]

    def decode(part: range) -> None:
        scratch = np.empty(height * width * 3, np.uint8)
        for number in part:
            scale = jpeg_scale(height, width, tuple(boxes[number]), (SIZE, SIZE))
            least = {"min_height": -(-height // scale), "min_width": -(-width // scale)}
            simplejpeg.decode_jpeg(
                payloads[number], buffer=scratch, min_factor=scale, **(least if scale > 1 else {})
            )

    def batches() -> Iterator[Any]:
        with ThreadPoolExecutor(usable_processors()) as threads:
            starts = range(0, len(manifest) - BATCH + 1, BATCH)
            parts = [range(start, start + BATCH) for start in starts] * epochs
            for part, _ in zip(parts, threads.map(decode, parts), strict=True):
                yield part

    return batches()


def write_pictures(folder: Path, count: int, height: int, width: int) -> float:
    """Write shards of different pictures; give the mean bytes of one."""
    import simplejpeg

    from besana.shards import ManifestWriter, ShardWriter
    from besana.shards.writer import Location, sample_example
    from besana.storage import open_storage

    storage, total = open_storage(folder), 0
    pictures = views(height, width)
    with ManifestWriter(storage) as manifest:
        for shard in range(8):
            with ShardWriter(storage, f"train-{shard}.tfrecord") as writer:
                for number in range(shard, count, 8):
                    encoded = simplejpeg.encode_jpeg(next(pictures), 90, "RGB", "420")
                    total += len(encoded)
                    size = {"height_px": height, "width_px": width, "channels": 3}
                    name = f"cam/{number:06d}"
                    example = sample_example(f"{name}/all", encoded, image_format="jpeg", **size)
                    place = writer.add(example)
                    row = {field: getattr(place, field) for field in Location.__slots__}
                    manifest.write([row | size | {"frame_id": name, "split": "train"}])
    return total / count


def views(height: int, width: int) -> Iterator[np.ndarray[Any, Any]]:
    """Cut views of the right size from real photographs; from noise like them where there are none.

    Photographs are looked for in BESANA_DATA or ../shared/data beside the repository.
    """
    import cv2

    from besana.images.decode import decode

    beside = Path(__file__).parents[2] / "shared/data"
    frames = Path(os.environ.get("BESANA_DATA", beside)) / "barn/frames"
    files = sorted(frames.glob("*/*.jpg"))
    draw = np.random.default_rng(0)
    number = 0
    while True:
        if files:
            pixels = decode(files[number * 7 % len(files)].read_bytes()).pixels
        else:
            pixels = like_a_photograph(draw)
        share = draw.uniform(0.7, 1.0)
        tall, wide = int(pixels.shape[0] * share), int(pixels.shape[1] * share)
        top = int(draw.integers(pixels.shape[0] - tall + 1))
        left = int(draw.integers(pixels.shape[1] - wide + 1))
        view = pixels[top : top + tall, left : left + wide]
        yield cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
        number += 1


def like_a_photograph(draw: np.random.Generator) -> np.ndarray[Any, Any]:
    """Make noise whose spectrum falls as that of photographs does, (960, 1280, 3) uint8."""
    rows, columns = np.fft.fftfreq(960)[:, None], np.fft.rfftfreq(1280)[None]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 1 / 1280) ** 1.1
    bands = [np.fft.irfft2(np.fft.rfft2(draw.normal(size=(960, 1280))) * falloff) for _ in range(3)]
    pixels = np.stack([bands[0], bands[0] + 0.3 * bands[1], bands[0] + 0.3 * bands[2]], axis=2)
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    return np.clip(pixels, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
