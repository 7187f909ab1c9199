"""Small datasets for the tests of the loader: pictures whose pixels tell which sample they are."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from besana.shards import Manifest, ManifestWriter, ShardWriter, open_manifest
from besana.shards.writer import sample_example
from besana.storage import open_storage

Picture = Callable[[int], np.ndarray[Any, Any]]


def smooth_picture(number: int, height: int = 40, width: int = 48) -> np.ndarray[Any, Any]:
    """Draw a smooth picture (height, width, 3) uint8 whose mean red is the sample's number."""
    rows, columns = np.mgrid[:height, :width]
    red = np.full((height, width), number % 251)
    green = rows * 200 // height + 20
    blue = columns * 200 // width + 20
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def jpeg(pixels: np.ndarray[Any, Any]) -> bytes:
    colours = "GRAY" if pixels.shape[2] == 1 else "RGB"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 95, colours, "444")


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    bgr = pixels[:, :, ::-1] if pixels.shape[2] == 3 else pixels
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()


def loader_threads() -> int:
    """Count the threads of loaders, whatever others the test runner has."""
    return sum(thread.name.startswith("besana-") for thread in threading.enumerate())


@dataclass
class Farm:
    """A folder with shards and their manifest."""

    folder: Path
    count: int = 100
    shards: int = 4
    picture: Picture = smooth_picture
    encode: Callable[[np.ndarray[Any, Any]], bytes] = jpeg
    bands: Callable[[int], Mapping[str, np.ndarray[Any, Any]]] = lambda number: {}
    more: Mapping[str, Any] = field(default_factory=dict)

    def write(self) -> Manifest:
        storage = open_storage(self.folder)
        per_shard = -(-self.count // self.shards)
        with ManifestWriter(storage, classes=("a", "b", "c")) as manifest:
            for shard in range(self.shards):
                numbers = range(shard * per_shard, min((shard + 1) * per_shard, self.count))
                with ShardWriter(storage, f"shard-{shard}.tfrecord") as writer:
                    manifest.write([self._row(number, writer) for number in numbers])
        return open_manifest(storage)

    def _row(self, number: int, writer: ShardWriter) -> dict[str, Any]:
        pixels = self.picture(number)
        bands = self.bands(number)
        height, width, channels = pixels.shape
        channels += sum(band.shape[2] for band in bands.values())
        encoded = self.encode(pixels)
        place = writer.add(
            sample_example(
                f"cam/{number:05d}/all",
                encoded,
                image_format="jpeg" if encoded[:2] == b"\xff\xd8" else "png",
                height_px=height,
                width_px=width,
                channels=channels,
                bands={name: png(band) for name, band in bands.items()},
            )
        )
        names = ("shard", "offset_bytes", "length_bytes", "payload_offset_bytes")
        names += ("payload_length_bytes", "crc32c")
        return {
            "frame_id": f"cam/{number:05d}",
            "height_px": height,
            "width_px": width,
            "channels": channels,
            "label": number % 3,
            "split": "train",
            **{name: getattr(place, name) for name in names},
            **self.more,
        }
