"""Draw the order and the memory of the loader from the loader itself.

Run: python docs/loader_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from besana.shards import Loader, ManifestWriter
from besana.shards.order import block_order, cut_blocks, global_order
from besana.storage import Bucket

IMAGES = Path(__file__).parent / "images"
COUNT, PER_BLOCK, WINDOW = 1200, 12, 12
SIDE, GAP, TOP = 250, 45, 52
INK, SOFT, GREEN, BROWN, BLUE = "#46505c", "#7d8794", "#2f6f4f", "#8a5a1c", "#35618f"
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
    'aria-labelledby="t d" font-family="system-ui, -apple-system, \'Segoe UI\', Roboto, '
    "'Liberation Sans', sans-serif\">\n"
    '<title id="t">{title}</title>\n<desc id="d">{text}</desc>\n'
)


def order_picture() -> str:
    """Plot where samples lie against when they are used, for three orders."""
    place = np.arange(COUNT)
    block = cut_blocks(np.zeros(COUNT, np.int64), place, PER_BLOCK)
    panels = [
        ("none", "as prepared", place),
        (
            "block",
            f"a window of {WINDOW} blocks goes by",
            block_order(block, None, 3, 0, WINDOW)[0],
        ),
        ("global", "a uniform permutation", global_order(COUNT, 3, 0)),
    ]
    parts = [
        HEAD.format(
            width=3 * SIDE + 2 * GAP + 70,
            height=SIDE + 100,
            title="Three orders of an epoch",
            text="Each dot is a sample: from left to right when it is used, from top to bottom "
            "where it lies. As prepared they lie on a line, in blocks they fill stripes, in the "
            "global order they fill the square evenly.",
        )
    ]
    for number, (name, said, order) in enumerate(panels):
        left = 40 + number * (SIDE + GAP)
        parts.append(_text(left, 20, f'shuffle="{name}"', INK, 16, bold=True))
        parts.append(_text(left, 40, said, SOFT, 13))
        parts.append(
            f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" '
            f'stroke="{SOFT}"/>'
        )
        dots = "".join(
            f"M{left + when * SIDE / COUNT:.1f} {TOP + int(where) * SIDE / COUNT:.1f}h1.6"
            for when, where in enumerate(order)
        )
        parts.append(f'<path d="{dots}" stroke="{GREEN}" stroke-width="1.6" fill="none"/>')
        parts.append(_text(left, TOP + SIDE + 20, "used first", SOFT, 13))
        parts.append(_text(left + SIDE, TOP + SIDE + 20, "used last", SOFT, 13, anchor="end"))
    turned = f'transform="rotate(-90 28 {TOP + SIDE})"'
    parts.append(_text(28, TOP + SIDE, "place in the shards", SOFT, 13, more=turned))
    return "\n".join([*parts, "</svg>\n"])


def memory_picture() -> str:
    """Draw what a loader holds at three sizes, as it plans it."""
    rows = []
    for samples in (10_000, 1_000_000, 10_000_000):
        for far in (False, True):
            rows.append((samples, far, _planned(far=far), (24 if far else 8) * samples / 1e6))
    scale = 560 / max(sum(plan.values()) + order for _, _, plan, order in rows)
    colours = {"batches": GREEN, "threads": BROWN, "blocks": BLUE}
    parts = [
        HEAD.format(
            width=860,
            height=40 * len(rows) + 70,
            title="Memory of a loader",
            text="Bars for ten thousand, one million and ten million samples, from a disk and "
            "from a bucket: batches, threads and blocks are the same at every size; selection "
            "and order grow by 8 bytes a sample on a disk, 24 from a bucket.",
        )
    ]
    for number, (samples, far, plan, order) in enumerate(rows):
        top, left = 12 + number * 40, 200.0
        said = f"{samples:,} samples, {'bucket' if far else 'disk'}"
        parts.append(_text(190, top + 18, said, INK, 13, anchor="end"))
        for name, megabytes in [*plan.items(), ("order", order)]:
            width = megabytes * scale
            colour = colours.get(name, SOFT)
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="26" fill="{colour}"/>'
            )
            left += width
        total = sum(plan.values()) + order
        parts.append(_text(left + 6, top + 18, f"{total:.0f} MB", INK, 13))
    at = 12 + 40 * len(rows)
    named = [*colours.items(), ("selection and order", SOFT)]
    for number, (name, colour) in enumerate(named):
        left = 200 + number * 110
        parts.append(f'<rect x="{left}" y="{at}" width="14" height="14" fill="{colour}"/>')
        parts.append(_text(left + 20, at + 12, name, INK, 13))
    return "\n".join([*parts, "</svg>\n"])


def _planned(*, far: bool) -> dict[str, float]:
    """Ask a loader what it would allocate: batches of 64 of 224 px, two threads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.parquet"
        rows = [
            {
                "frame_id": f"{n}",
                "shard": f"{n // 4000}.tfrecord",
                "offset_bytes": n % 4000 * 17_000,
                "length_bytes": 17_000,
                "payload_offset_bytes": n % 4000 * 17_000 + 300,
                "payload_length_bytes": 16_600,
                "crc32c": 0,
                "height_px": 256,
                "width_px": 341,
                "channels": 3,
            }
            for n in range(10_000)
        ]
        with ManifestWriter(path) as writer:
            writer.write(rows)
        shards = Bucket("s3://farm/shards") if far else folder
        shuffle = "block" if far else "global"
        with Loader(
            path, None, shards=shards, shuffle=shuffle, threads=2, memory_bytes=2 << 30
        ) as loader:
            memory = loader.memory
            batches = memory.slots * 64 * 224 * 224 * 3
            threads = memory.total_bytes - batches - memory.ahead_bytes
    figures = {"batches": batches, "threads": threads, "blocks": memory.ahead_bytes}
    return {name: value / 1e6 for name, value in figures.items()}


def _text(
    x: float,
    y: float,
    text: str,
    colour: str,
    size: int,
    *,
    anchor: str = "start",
    bold: bool = False,
    more: str = "",
) -> str:
    weight = ' font-weight="600"' if bold else ""
    text = text.replace('"', "&quot;")
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" font-size="{size}" '
        f'text-anchor="{anchor}"{weight} {more}>{text}</text>'
    )


PICTURES = {"loader-order.svg": order_picture, "loader-memory.svg": memory_picture}
"""Files and who draws them."""


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw())
