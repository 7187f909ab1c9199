"""What an upload takes beside `aws s3 sync` and `rclone copy`, to the same server on this machine.

    python benchmarks/upload.py --aws .../aws --files 10000

The server is VersityGW (tests/contracts/production_server.py), in a process of its own. Each round
uploads the same files into an empty bucket with each program, in turn; then once more, when all of
it is there. besana sends SHA-256 and `If-None-Match` with each object, rclone and aws do not send a
condition. All run with 16 files at the same time. Seconds are of the whole command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import boto3

from besana.buckets.rclone import find_rclone
from besana.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/contracts"))
from production_server import find_program, serve

AT_ONCE = 16


def make_files(folder: Path, files: int, size_bytes: int) -> None:
    """Write files of random bytes, named like besana's frames."""
    for number in range(files):
        path = folder / f"{number % 256:02x}" / f"{number:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size_bytes))


def commands(farm: Path, bucket: str, aws: str, root: Path) -> dict[str, list[str]]:
    """Give each program's words for the same upload."""
    frames = str(farm / "frames")
    found = {
        "besana": [
            *(sys.executable, "-m", "besana", "bucket", "upload", str(farm)),
            *("--store", f"s3://{bucket}/farm", "--threads", str(AT_ONCE)),
        ],
        "rclone": [
            *(find_rclone(), "copy", "--transfers", str(AT_ONCE), "--checkers", str(AT_ONCE)),
            *("--s3-no-check-bucket", frames, f"versity:{bucket}/farm/frames"),
        ],
        "aws": [aws, "s3", "sync", "--only-show-errors", frames, f"s3://{bucket}/farm/frames"],
    }
    (root / "aws.config").write_text(
        f"[default]\ns3 =\n  max_concurrent_requests = {AT_ONCE}\nregion = us-east-1\n"
    )
    return found if aws else {name: words for name, words in found.items() if name != "aws"}


def timed(words: list[str], environment: Mapping[str, str]) -> float:
    """Run a program and take its time."""
    started = time.perf_counter()
    subprocess.run(words, check=True, env=dict(environment), capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print seconds and ratios of each program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size-bytes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--aws", default=shutil.which("aws") or "", help="the aws program")
    arguments = parser.parse_args()
    program = find_program()
    if program is None:
        parser.error("VersityGW is not there; see tests/contracts/production_server.py")
    with tempfile.TemporaryDirectory() as name, serve(program, Path(name) / "server") as settings:
        root = Path(name)
        farm = Workspace.create(root / "farm").path
        make_files(farm / "frames", arguments.files, arguments.size_bytes)
        environment = {
            **os.environ,
            **settings,
            "AWS_CONFIG_FILE": str(root / "aws.config"),
            "RCLONE_CONFIG": str(root / "none"),
            "RCLONE_CONFIG_VERSITY_TYPE": "s3",
            "RCLONE_CONFIG_VERSITY_PROVIDER": "Other",
            "RCLONE_CONFIG_VERSITY_ENV_AUTH": "true",
            "RCLONE_CONFIG_VERSITY_ENDPOINT": settings["AWS_ENDPOINT_URL"],
        }
        os.environ.update(settings)
        seconds: dict[str, list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for who in commands(farm, "", arguments.aws, root):
                bucket = f"bench-{uuid.uuid4().hex[:8]}"
                boto3.client("s3").create_bucket(Bucket=bucket)
                words = commands(farm, bucket, arguments.aws, root)[who]
                times = timed(words, environment), timed(words, environment)
                seconds.setdefault(who, []).append(times)
                shutil.rmtree(root / "server/data" / bucket)
                print(who, *(f"{each:.1f}" for each in times), flush=True)
    show(seconds, arguments)


def show(seconds: Mapping[str, list[tuple[float, float]]], arguments: argparse.Namespace) -> None:
    """Print the medians, and how many times besana's they are."""
    print(f"{arguments.files} files of {arguments.size_bytes} B, load {os.getloadavg()[0]:.1f}")
    print("| program | first s | again s | first / besana | again / besana |")
    middle = {
        who: [statistics.median(column) for column in zip(*rows, strict=True)]
        for who, rows in seconds.items()
    }
    first, again = middle["besana"]
    for who, (one, two) in middle.items():
        print(f"| {who} | {one:.1f} | {two:.1f} | {one / first:.2f} | {two / again:.2f} |")


if __name__ == "__main__":
    main()
