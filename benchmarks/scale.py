"""What 10 million and a billion samples take: costs measured here on three sizes, extrapolated.

    python benchmarks/scale.py measure --sizes 200 800 3200
    python benchmarks/scale.py report docs/images/scale.svg

`measure` walks farms of drawn frames (640 px, one sample each) in a bucket of a server on this
machine through collect, clean and prepare, and fills a catalog with rows, as the driver does. The
two smaller farms give a start and seconds an item; the largest is held against them. `report`
prints what follows for more samples and draws it. The figures are kept in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import besana
from besana import catalog as tables
from besana.costs.bills import read_lines
from besana.costs.loose import SHARD_BYTES
from besana.costs.paces import Observation, cores, fit
from besana.costs.prices import read_prices
from besana.traffic import PART_BYTES, Traffic

HERE = Path(__file__).parent
RESULTS = HERE / "results/scale.json"
STAGES = ("collect", "clean", "prepare")
MANY = (10_000_000, 1_000_000_000)
CORES = (2, 16, 256, 4096)
PUTS_S, GETS_S = 3500, 5500  # a second and prefix, says Amazon's page on performance
PREFIXES = 256  # frames lie below two letters of their hash
CORE_HOUR = 0.05  # a rented core: m5.xlarge, 0.192 an hour for four
ROWS = 100_000


def measure(folder: Path, sizes: list[int]) -> dict[str, Any]:
    """Walk farms of each size; gives items, seconds and requests by stage."""
    from spark import make

    sys.path.insert(0, str(HERE.parent / "tests/contracts"))
    import boto3
    from production_server import find_program, serve

    program = find_program()
    if program is None:
        raise SystemExit("VersityGW is not there; see tests/contracts/production_server.py")
    found: dict[str, Any] = {"load": os.getloadavg()[0], "cores": cores(), "runs": {}}
    with serve(program, folder / "server") as settings:
        os.environ.update(settings)
        boto3.client("s3").create_bucket(Bucket="scale")
        for size in sizes:
            make(folder / f"drawn-{size}", size, 640)
            store = f'store = "s3://scale/{size}"\n'
            farm = besana.Workspace.create(folder / f"farm-{size}", store)
            source = str(folder / f"drawn-{size}-frames")
            for stage in STAGES:
                own = {"source": [source], "settle_s": 0} if stage == "collect" else {}
                besana.run_stage(farm, stage, {**own, "max_dropped_share": 1.0})
            lines = {line["stage"]: line for line in read_lines(farm)}
            found["runs"][size] = {
                stage: {name: lines[stage][name] for name in ("items", "seconds", "traffic")}
                for stage in STAGES
            }
            farm.catalog.close()
    found["row_s"] = measure_rows(folder / "rows")
    found["load_after"] = os.getloadavg()[0]
    return found


def measure_rows(path: Path) -> float:
    """Time what the driver writes for a frame and its sample, in transactions of 100."""
    farm = besana.Workspace.create(path)
    started = time.perf_counter()
    for first in range(0, ROWS, 100):
        numbers = range(first, first + 100)
        with farm.catalog.transaction() as connection:
            for table in (tables.frames, tables.quality, tables.samples):
                rows = [row_of(table, number) for number in numbers]
                tables.insert(connection, table, rows)
    seconds = time.perf_counter() - started
    farm.catalog.close()
    return seconds / ROWS


def row_of(table: Any, number: int) -> dict[str, Any]:
    """Fill every column of a table with something of its type."""
    import datetime as dt

    row: dict[str, Any] = {}
    for column in table.columns:
        kind = type(column.type).__name__
        name = f"pen/{number:012d}"
        row[column.name] = {
            "Text": name if column.name.endswith("id") else f"{column.name}-{number}",
            "BigInteger": number,
            "Integer": number % 1000,
            "Float": number / 7,
            "Boolean": False,
            "JSON": {},
            "LargeBinary": b"x" * 200,
            "UtcDateTime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        }[kind]
    return row


def held_against(found: dict[str, Any]) -> list[tuple[str, int, float, float, float]]:
    """Fit the two smaller farms, and hold the largest against them."""
    *small, large = sorted(found["runs"], key=int)
    rows = []
    for stage in STAGES:
        pace = pace_of(found, stage, small)
        run = found["runs"][large][stage]
        planned = pace.seconds(run["items"]).likely
        rows.append((stage, run["items"], planned, run["seconds"], run["seconds"] / planned - 1))
    return rows


def pace_of(found: dict[str, Any], stage: str, sizes: list[str]) -> Any:
    """Fit start and seconds an item to runs of some sizes."""
    runs = [found["runs"][size][stage] for size in sizes]
    return fit([Observation(stage, "", run["items"], run["seconds"]) for run in runs])


def requests_each(found: dict[str, Any], stage: str) -> Traffic:
    """Take the requests and bytes of the largest farm."""
    return Traffic(**found["runs"][max(found["runs"], key=int)][stage]["traffic"])


def extrapolate(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell for many samples what each stage takes, and what it waits for."""
    aws, sizes = read_prices(None).cloud("aws"), sorted(found["runs"], key=int)
    largest, rows = int(sizes[-1]), []
    for samples in MANY:
        for stage in STAGES:
            core_s = pace_of(found, stage, sizes).item_s.likely * found["cores"] * samples
            traffic = requests_each(found, stage)
            share = samples / largest
            gets, puts = traffic.gets * share, traffic.puts * share
            if stage == "prepare":  # small farms have small shards; large ones fill them
                written = traffic.written_bytes * share
                puts = written / PART_BYTES + 2 * written / SHARD_BYTES
            prefixes = PREFIXES if stage != "prepare" else 1
            bucket_s = max(puts / PUTS_S / prefixes, gets / GETS_S / PREFIXES)
            rows_s = found["row_s"] * samples / 3  # each stage writes a third of what was timed
            money = aws.requests(Traffic(gets=round(gets), puts=round(puts)))
            rows.append(
                {
                    "samples": samples,
                    "stage": stage,
                    "core_hours": core_s / 3600,
                    "requests": gets + puts,
                    "requests_money": money,
                    "cores_money": core_s / 3600 * CORE_HOUR,
                    "hours": {n: max(core_s / n, rows_s, bucket_s) / 3600 for n in CORES},
                    "rows_hours": rows_s / 3600,
                    "bucket_hours": bucket_s / 3600,
                    "enough_cores": core_s / max(rows_s, bucket_s),
                }
            )
    return rows


def report(found: dict[str, Any], picture: Path | None) -> None:
    """Print tables for the page, and draw the picture."""
    print(f"load {found['load']:.1f} to {found['load_after']:.1f}, {found['cores']} cores")
    print("| stage | items | from the smaller ones s | measured s | off |\n|---|---|---|---|---|")
    for stage, items, planned, seconds, error in held_against(found):
        print(f"| {stage} | {items:,} | {planned:.1f} | {seconds:.1f} | {error:+.0%} |")
    print(f"driver: {found['row_s'] * 1e3:.3f} ms for the three rows of a sample")
    rows = extrapolate(found)
    names = " | ".join(f"{n} cores h" for n in CORES)
    print(
        f"| samples | stage | core hours | requests | USD requests | USD cores | {names} |"
        " rows h | cores that are enough |"
    )
    for row in rows:
        hours = " | ".join(f"{row['hours'][n]:,.1f}" for n in CORES)
        print(
            f"| {row['samples']:,} | {row['stage']} | {row['core_hours']:,.0f} |"
            f" {row['requests']:,.0f} | {row['requests_money']:,.2f} |"
            f" {row['cores_money']:,.0f} | {hours} | {row['rows_hours']:,.1f} |"
            f" {row['enough_cores']:,.0f} |"
        )
    if picture:
        picture.write_text(draw(rows), "utf-8")


def draw(rows: list[dict[str, Any]]) -> str:
    """Draw hours of all stages against cores, for each number of samples, on logarithmic axes."""
    import math

    cores_on = [2**n for n in range(1, 15)]
    width, height, left, top = 640, 360, 70, 30

    def x(count: float) -> float:
        return left + (width - left - 120) * math.log2(count / 2) / 13

    def y(hours: float) -> float:
        return top + (height - top - 50) * (1 - math.log10(hours / 0.1) / 6)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="sans-serif" font-size="12"><title>Hours for collect, clean and prepare'
        " against processor cores</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for power in range(-1, 6):
        at, label = y(10**power), f"{10**power:,g} h"
        lines.append(f'<path d="M{left} {at:.1f}H{width - 120}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for count in (*CORES, 16384):
        lines.append(
            f'<text x="{x(count):.1f}" y="{height - 28}" text-anchor="middle">{count:,}</text>'
        )
    lines.append(f'<text x="{(left + width - 120) / 2}" y="{height - 8}">processor cores</text>')
    for samples, colour in zip(MANY, ("#1b6ca8", "#b4431a"), strict=True):
        own = [row for row in rows if row["samples"] == samples]
        floor = sum(max(row["rows_hours"], row["bucket_hours"]) for row in own)
        points = []
        for count in cores_on:
            hours = sum(
                max(row["core_hours"] / count, row["rows_hours"], row["bucket_hours"])
                for row in own
            )
            points.append(f"{x(count):.1f},{y(hours):.1f}")
        lines.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"'
            ' stroke-width="2.5"/>'
        )
        lines.append(
            f'<path d="M{left} {y(floor):.1f}H{width - 120}" stroke="{colour}"'
            ' stroke-dasharray="4 4"/>'
        )
        end = float(points[-1].split(",")[1])
        name = "10 million" if samples == MANY[0] else "1 billion"
        lines.append(f'<text x="{width - 112}" y="{end + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    """Measure, or report what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["measure", "report"], nargs="?", default="measure")
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--sizes", type=int, nargs=3, default=[200, 800, 3200])
    arguments = parser.parse_args()
    if arguments.action == "measure":
        RESULTS.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=arguments.path) as folder:
            found = measure(Path(folder), arguments.sizes)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        report(json.loads(RESULTS.read_text()), None)
    else:
        report(json.loads(RESULTS.read_text()), arguments.path)


if __name__ == "__main__":
    main()
