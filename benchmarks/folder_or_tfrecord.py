"""A folder a class or TFRecord: the same network trained from both, in Keras and in besana.

MobileNetV2 from the same ImageNet weights, all of it trained, the same pictures, batches, learning
rate and number of epochs. Keras reads the folder with `image_dataset_from_directory`, and TFRecord
with `tf.data`; besana reads its shards. Each contender is a process of its own; a row a contender
goes to `results/folder_or_tfrecord.csv`.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "folder_or_tfrecord.csv"
CONTENDERS = ("keras-folder", "keras-folder-cached", "keras-tfrecord", "besana")
COLUMNS = (
    *("contender", "epochs", "size_px", "seed", "first_epoch_s", "epoch_s"),
    *("input_pictures_per_s", "validation_accuracy", "load"),
)
BATCH, RATE = 32, 1e-3


def keras_network(weights: Path, size_px: int, classes: int) -> Any:
    """Build Keras' MobileNetV2 with the given weights, its classifier from zeros and noise."""
    import keras
    from safetensors.numpy import load_file

    body = keras.applications.MobileNetV2(
        input_shape=(size_px, size_px, 3), include_top=False, weights=None, pooling="avg"
    )
    found = load_file(weights)
    names = in_order(found)
    kinds = keras.layers
    wanted = (kinds.Conv2D, kinds.DepthwiseConv2D, kinds.BatchNormalization)
    layers = [layer for layer in body.layers if isinstance(layer, wanted)]
    for name, layer in zip(names, layers, strict=True):
        if isinstance(layer, kinds.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([found[f"{name}.{part}"] for part in parts])
        else:
            kernel = found[f"{name}.weight"]
            by_channel = isinstance(layer, kinds.DepthwiseConv2D)
            turned = (2, 3, 0, 1) if by_channel else (2, 3, 1, 0)
            layer.set_weights([kernel.transpose(turned)])
    head = keras.layers.Dense(classes)(body.output)
    return keras.Model(body.input, head)


def in_order(found: dict[str, Any]) -> list[str]:
    """List convolutions and normalisations in the order of the network, which Keras shares.

    From the names alone: torch and TensorFlow do not load in one process everywhere.
    """
    blocks = {tuple(map(int, key.split(".")[1:3])) for key in found if key.startswith("blocks.")}
    parts = ["conv_stem", "bn1"]
    for stage, number in sorted(blocks):
        place = f"blocks.{stage}.{number}"
        widened = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
        first = ("conv_dw", "bn1", "conv_pw", "bn2")
        parts += [f"{place}.{part}" for part in (widened if stage else first)]
    return [*parts, "conv_head", "bn2"]


def folder_dataset(folder: Path, size_px: int, seed: int, *, train: bool) -> Any:
    """Read a folder a class, as Keras' guides do."""
    import keras

    return keras.utils.image_dataset_from_directory(
        folder,
        image_size=(size_px, size_px),
        batch_size=BATCH,
        shuffle=train,
        seed=seed,
        label_mode="int",
        verbose=False,
    )


def write_tfrecord(folder: Path, target: Path) -> None:
    """Pack a folder a class into one TFRecord file: the bytes of each file and its class."""
    import tensorflow as tf

    classes = sorted(path.name for path in folder.iterdir())
    with tf.io.TFRecordWriter(str(target)) as writer:
        for path in sorted(folder.glob("*/*")):
            values = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()])),
                "label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[classes.index(path.parent.name)])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=values))
            writer.write(example.SerializeToString())


def tfrecord_dataset(path: Path, size_px: int, seed: int, *, train: bool) -> Any:
    """Read TFRecord with `tf.data`, as its guides do."""
    import tensorflow as tf

    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def picture(record: Any) -> Any:
        found = tf.io.parse_single_example(record, features)
        pixels = tf.io.decode_png(found["image"], channels=3)
        return tf.image.resize(pixels, [size_px, size_px]), found["label"]

    dataset = tf.data.TFRecordDataset(str(path))
    if train:
        dataset = dataset.shuffle(2000, seed=seed)
    return dataset.map(picture, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)


def keras_contender(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in Keras; returns figures."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(arguments.seed)
    source = arguments.data / "seedlings"
    sets = {}
    for part in ("train", "val"):
        is_train = part == "train"
        if arguments.contender == "keras-tfrecord":
            path = arguments.work / f"{part}.tfrecord"
            if not path.exists():
                write_tfrecord(source / part, path)
            made = tfrecord_dataset(path, arguments.size_px, arguments.seed, train=is_train)
        else:
            made = folder_dataset(source / part, arguments.size_px, arguments.seed, train=is_train)
        if arguments.contender == "keras-folder-cached":
            made = made.cache()
        sets[part] = made.map(
            lambda pixels, label: ((pixels - 128.0) / 128.0, label),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(tf.data.AUTOTUNE)
    rate = _input_rate(lambda: ((len(labels) for _, labels in sets["train"])))
    network = keras_network(_weights(arguments), arguments.size_px, 12)
    steps = sum(1 for _ in sets["train"]) * arguments.epochs
    rising = {"warmup_target": RATE, "warmup_steps": steps // 7}
    falling = keras.optimizers.schedules.CosineDecay(0.0, steps, **rising)
    network.compile(
        optimizer=keras.optimizers.AdamW(falling, weight_decay=0.05, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    times = _Times()
    network.fit(
        sets["train"],
        epochs=arguments.epochs,
        shuffle=False,  # the data set is
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=times.begin, on_epoch_end=times.end)
        ],
    )
    _, accuracy = network.evaluate(sets["val"], verbose=0)
    return {"seconds": times.seconds, "accuracy": accuracy, "rate": rate}


class _Times:
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def begin(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def _input_rate(batches: Any) -> float:
    """Pictures a second of the input alone, in its second pass."""
    for _ in batches():
        pass
    began = time.perf_counter()
    count = sum(batches())
    return float(count / (time.perf_counter() - began))


def _weights(arguments: argparse.Namespace) -> Path:
    return Path(arguments.data) / "weights" / "mobilenetv2_100_same_1001.safetensors"


def besana_contender(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in besana; returns figures."""
    import besana
    from besana.learning.runs import open_run
    from besana.models.model import load_model
    from besana.shards import Loader
    from besana.shards.datasets import open_dataset

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{arguments.work.absolute()}/mlflow.db"
    farm = besana.Workspace.create(arguments.work / "farm")
    if not (farm.path / "datasets").is_dir():
        source = str(arguments.data / "seedlings" / "train")
        shares = {"method": "fractions", "test_share": 0.0, "validation_share": 0.0}
        settings = {"collect": {"source": [source], "in_place": True}, "split": shares}
        besana.run(farm, last="split", overrides=settings)
    manifest = open_dataset(farm).manifest()
    with Loader(manifest, "train", BATCH, arguments.size_px, farm.shards) as loader:
        rate = _input_rate(lambda: (len(batch.labels) for batch in loader))
    settings = {
        "strategy": "finetune",
        "weights": str(_weights(arguments)),
        "backbone_options": {"pad_type": "same"},
        "input_mean": [128.0],
        "input_std": [128.0],
        "size_px": arguments.size_px,
        "epochs": arguments.epochs,
        "batch_size": BATCH,
        "learning_rate": RATE,
        "head_factor": 1.0,
        "augment": "none",
        "label_smoothing": 0.0,
        "seed": arguments.seed,
    }
    besana.run_stage(farm, "train", settings)
    found = open_run(farm)
    pictures, truth = _unseen(arguments.data / "seedlings" / "val")
    probability = load_model(found.model).predict(pictures)
    return {
        "seconds": [epoch["seconds"] for epoch in found.record["history"]],
        "accuracy": float((probability.argmax(axis=1) == truth).mean()),
        "rate": rate,
    }


def _unseen(folder: Path) -> tuple[Any, Any]:
    """Read a folder a class, (n, height, width, 3) uint8 and class numbers."""
    import numpy as np
    from PIL import Image

    classes = sorted(path.name for path in folder.iterdir())
    paths = sorted(folder.glob("*/*"))
    pictures = [np.asarray(Image.open(path, formats=["PNG"]).convert("RGB")) for path in paths]
    return np.stack(pictures), np.array([classes.index(path.parent.name) for path in paths])


def measure(arguments: argparse.Namespace) -> None:
    """Be one contender, and add a row to the results."""
    load = os.getloadavg()[0]
    is_keras = arguments.contender.startswith("keras")
    figures = (keras_contender if is_keras else besana_contender)(arguments)
    row = {
        "contender": arguments.contender,
        "epochs": arguments.epochs,
        "size_px": arguments.size_px,
        "seed": arguments.seed,
        "first_epoch_s": round(figures["seconds"][0], 2),
        "epoch_s": round(statistics.median(figures["seconds"][1:]), 2),
        "input_pictures_per_s": round(figures["rate"]),
        "validation_accuracy": round(figures["accuracy"], 4),
        "load": round(load, 1),
    }
    print(row, flush=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        if is_new:
            rows.writeheader()
        rows.writerow(row)


def main() -> None:
    """Measure one contender, or each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of real images")
    parser.add_argument("work", type=Path, help="folder for what is made, kept between calls")
    parser.add_argument("--contender", choices=CONTENDERS, default="")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size-px", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.contender:
        measure(arguments)
        return
    for contender in CONTENDERS:
        command = [sys.executable, __file__, *sys.argv[1:], "--contender", contender]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
