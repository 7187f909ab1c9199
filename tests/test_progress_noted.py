"""What runs can be seen from outside, and is gone when it ends or was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from besana.progress import progress_noted, running, track


def test_what_runs_says_how_far_it_is(tmp_path: Path) -> None:
    with progress_noted(tmp_path, "clean"):
        (record,) = running(tmp_path)
        assert (record["stage"], record["done"], record["total"]) == ("clean", 0, None)
        with track("embed", 500) as advance:
            (record,) = running(tmp_path)
            assert (record["step"], record["total"]) == ("embed", 500)
            advance(120)
    assert running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_progress_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("besana.progress._NOTED_EVERY_S", 0)
    with progress_noted(tmp_path, "clean"), track("clean", None) as advance:
        advance(3)
        advance(4)
        assert running(tmp_path)[0]["done"] == 7


def test_what_was_killed_does_not_run(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with progress_noted(tmp_path, "clean"):
        (path,) = tmp_path.iterdir()
        record = json.loads(path.read_text())
        for name, change in (("a", {"process": ended.pid}), ("b", {"host": "another"})):
            (tmp_path / f"running-{name}.json").write_text(json.dumps({**record, **change}))
        (tmp_path / "running-c.json").write_text("{")
        found = {(each["process"], each["host"]) for each in running(tmp_path)}
        assert found == {(os.getpid(), record["host"]), (os.getpid(), "another")}


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    place = tmp_path / "a-file"
    place.write_text("")
    with progress_noted(place, "clean"), track("clean", 2) as advance:
        advance(2)
    assert running(place) == []
