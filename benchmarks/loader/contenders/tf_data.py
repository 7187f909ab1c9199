"""tf.data as its guides recommend: interleave, AUTOTUNE, decode_and_crop_jpeg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from work import AREA, BATCH, MEAN, RATIO, SIZE, STD, Work

NEEDS = ("tensorflow-cpu",)
FORMAT = "tfrecord"
SETTINGS = "interleave, shuffle 500, AUTOTUNE, not deterministic, decode_and_crop_jpeg"
DTYPES = ("uint8", "float32")


def stream(work: Work) -> Iterator[Any]:
    """Give batches without end."""
    auto = tf.data.AUTOTUNE
    whole = tf.zeros([1, 0, 4])
    features = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
    mean, std = tf.constant(MEAN) * 255, tf.constant(STD) * 255

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
        pixels = tf.image.random_flip_left_right(pixels)
        return (pixels - mean) / std if work.is_float else tf.cast(pixels, tf.uint8)

    paths = sorted(str(path) for path in (work.folder / FORMAT).glob("*.tfrecord"))
    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    dataset = dataset.interleave(
        tf.data.TFRecordDataset, num_parallel_calls=auto, deterministic=False
    )
    dataset = dataset.shuffle(500).repeat()
    dataset = dataset.map(picture, num_parallel_calls=auto, deterministic=False)
    dataset = dataset.batch(BATCH, drop_remainder=True).prefetch(auto)
    return iter(dataset.as_numpy_iterator())
