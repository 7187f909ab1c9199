"""Files that change while they are read are read whole or not at all; nothing in them is run."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_files import one_bit_png, png_header, png_with_metadata_bomb

from besana.errors import CorruptDataError
from besana.images.files import read_stable

OLD, NEW = b"o" * 3_000_000, b"n" * 5_000_000


def until(done: threading.Event, change: Callable[[], object]) -> None:
    while not done.is_set():
        change()


def read_while(path: Path, change: Callable[[], object], times: int, settle_s: float) -> list[str]:
    """Read a file again and again while it changes: whether old, new, mixed or refused."""
    done = threading.Event()
    changing = threading.Thread(target=until, args=(done, change))
    changing.start()
    try:
        return [read_once(path, settle_s) for _ in range(times)]
    finally:
        done.set()
        changing.join()


def read_once(path: Path, settle_s: float) -> str:
    try:
        file = read_stable(str(path.parent), path.name, limit_bytes=10_000_000, settle_s=settle_s)
    except CorruptDataError as error:
        return error.reason
    return {OLD: "old", NEW: "new"}.get(file.data, "mixed")


def test_a_file_replaced_meanwhile_is_the_old_or_the_new_one(tmp_path: Path) -> None:  # B24
    path = tmp_path / "cow.jpg"
    path.write_bytes(OLD)
    contents = [NEW, OLD]

    def replace() -> None:
        contents.reverse()
        (tmp_path / "next").write_bytes(contents[0])
        os.replace(tmp_path / "next", path)

    assert set(read_while(path, replace, times=40, settle_s=0)) <= {"old", "new"}


def test_a_file_rewritten_meanwhile_is_not_taken(tmp_path: Path) -> None:  # B24
    path = tmp_path / "cow.jpg"
    path.write_bytes(OLD)
    contents = [NEW, OLD]

    def rewrite() -> None:
        contents.reverse()
        with path.open("r+b") as file:
            file.write(contents[0])
            file.truncate()

    assert read_while(path, rewrite, times=1, settle_s=0.5) == ["still_changing"]
    assert read_once(path, settle_s=0.1) in ("old", "new")


CHILD = """
import sys
from besana.errors import CorruptDataError
from besana.images.decode import decode
started = []
sys.addaudithook(
    lambda event, _: started.append(event)
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
    else None
)
reasons = []
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        data = file.read()
    try:
        decode(data)
    except CorruptDataError as error:
        reasons.append(error.reason)
# Not ru_maxrss: that counts the process that started this one too.
with open("/proc/self/status") as file:
    status = file.read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024, *reasons, *started)
"""


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        pytest.param(
            [
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
                b"%PDF-1.7\n1 0 obj\n",
                b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///x'/></svg>",
                b"#!/bin/sh\ntouch /tmp/executed\n",
            ],
            {"unsupported_format", "not_an_image"},
            id="B20",
        ),
        pytest.param(
            [
                one_bit_png(13000),
                png_header(13000, 13000),
                png_with_metadata_bomb(b"zTXt", 3 << 28),
            ],
            {"too_large", "metadata_bomb"},
            id="B10",
        ),
    ],
)
def test_a_hostile_file_starts_nothing_and_takes_little_memory(
    tmp_path: Path, contents: list[bytes], reason: set[str]
) -> None:
    for number, data in enumerate(contents):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *sorted(map(str, tmp_path.glob("*.jpg")))],
        capture_output=True,
        text=True,
        check=True,
    )
    memory_mb, *reasons = child.stdout.split()
    assert set(reasons) == reason
    assert len(reasons) == len(contents)
    assert int(memory_mb) < 512
