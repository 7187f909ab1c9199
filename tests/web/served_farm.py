"""A small farm with its pages served, and people signed in."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from running import Client

from besana import catalog as tables
from besana.images.encode import encode_jpeg
from besana.shards.writer import ShardWriter, sample_example
from besana.storage import Folder
from besana.web.desk import Desk, DeskSettings
from besana.web.server import Address, bind, serve
from besana.web.site import build_site
from besana.workspace import Workspace
from small_dataset import RECIPE, vars_of

FIRST = dt.datetime(2025, 3, 3, 6, tzinfo=dt.UTC)
REGIONS = ("bed-1", "bed-2")
CLASSES = ("lying", "standing", "empty")
SETTINGS = """name = "Farm"
[label]
classes = ["lying", "standing", "empty"]
[cameras.pen]
regions = {"bed-1" = [0, 0, 60, 90], "bed-2" = [60, 0, 120, 90]}
"""
PASSWORD = "una vaca tumbada"


def truth(number: int, region: str) -> str:
    """What a sample shows: a state lasts some frames."""
    return CLASSES[(number // 7 + REGIONS.index(region)) % 3]


def frame_id(number: int) -> str:
    at = FIRST + dt.timedelta(minutes=5 * number)
    return f"pen/{at:%Y%m%dT%H%M%S}.000Z-{number:08x}"


def picture(number: int, region: str) -> np.ndarray[Any, Any]:
    """Draw a class as a colour and as a bright block at its own place, (90, 60, 3)."""
    place = CLASSES.index(truth(number, region))
    colour = place * 80 + 40
    noise = np.random.default_rng(number).integers(0, 20, (90, 60, 3))
    pixels = noise + np.array([colour, 120, 200 - colour // 2])
    pixels[30 * place : 30 * place + 25, 10:50] = 235
    return pixels.astype(np.uint8)


def make_farm(folder: Path, frames: int = 60, settings: str = SETTINGS) -> Workspace:
    """Make a workspace with frames and samples as collect and prepare leave them."""
    workspace = Workspace.create(folder, settings)
    frame_rows, sample_rows = [], []
    now = dt.datetime.now(dt.UTC)
    originals = Folder(folder / "frames")
    with ShardWriter(workspace.shards, "a.tfrecord") as writer:
        for number in range(frames):
            beds = {region: picture(number, region) for region in REGIONS}
            whole = encode_jpeg(np.concatenate(list(beds.values()), axis=1))
            key = f"{number:04d}.jpg"
            originals.write(key, whole)
            band = {"band": "rgb", "key": key, "sha256": "", "size_bytes": len(whole)}
            frame_rows.append(
                {
                    "id": frame_id(number),
                    "camera": "pen",
                    "captured_at": FIRST + dt.timedelta(minutes=5 * number),
                    "time_source": "name",
                    "name": key,
                    "source": key,
                    "source_size_bytes": len(whole),
                    "source_modified_ns": 0,
                    "bands": [band],
                    "sha256": "",
                    "size_bytes": len(whole),
                    "width_px": 120,
                    "height_px": 90,
                    "metadata": {},
                    "collected_at": now,
                }
            )
            for region, pixels in beds.items():
                size = {"height_px": 90, "width_px": 60, "channels": 3}
                example = sample_example(
                    f"{frame_id(number)}/{region}", encode_jpeg(pixels), image_format="jpeg", **size
                )
                place = vars_of(writer.add(example))
                row = {"frame_id": frame_id(number), "region": region, "recipe": RECIPE}
                sample_rows.append({**row, **place, **size, "prepared_at": now})
    workspace.catalog.insert(tables.frames, frame_rows)
    workspace.catalog.insert(tables.samples, sample_rows)
    return workspace


@dataclass
class Site:
    """A served farm."""

    desk: Desk
    port: int

    def client(self, role: str = "", name: str = "") -> Client:
        """Give a client that is signed in as a new person of a role, or as nobody."""
        client = Client(self.port)
        if role:
            token = self.desk.people.invite("test", role)
            session = self.desk.people.join(token, name or role.title(), PASSWORD)
            client.cookie = f"besana={session}"
            client.token = client.get("/api/me").json["token"]
        return client

    def wait(self) -> None:
        """Wait until the samples are counted."""
        until = time.monotonic() + 30
        while not self.desk.is_ready and time.monotonic() < until:
            time.sleep(0.02)
        assert self.desk.is_ready


@contextmanager
def served(workspace: Workspace, settings: DeskSettings | None = None) -> Iterator[Site]:
    """Serve the pages of a workspace in a thread."""
    address = Address()
    taken = bind(address)
    port = taken.getsockname()[1]
    with closing(Desk(workspace, settings or DeskSettings(overlap_share=0))) as desk:
        app = build_site(desk, address.hosts(port), secure=False)
        stop = threading.Event()
        more = {"until": stop.is_set, "beside": desk.watch}
        thread = threading.Thread(target=serve, args=(app, taken, address), kwargs=more)
        thread.start()
        try:
            site = Site(desk, port)
            site.wait()
            yield site
        finally:
            stop.set()
            thread.join()
