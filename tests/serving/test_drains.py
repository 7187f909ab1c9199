"""Servers are stopped under load again and again, by the script that the benchmarks use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serving.py"


@pytest.mark.slow  # twenty servers
def test_twenty_drains_fail_no_request(whole_export):
    command = [sys.executable, str(SCRIPT), "--parts", "drains", "--drains", "20"]
    # The folder that the tests made has read-only files of a tiny model.
    done = subprocess.run(
        [*command, "--folder", str(whole_export)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = re.search(r"20 drains under load: (\d+) answers, (\d+) failed", done.stdout)
    assert found, done.stdout + done.stderr
    assert int(found[1]) > 20 * 4
    assert int(found[2]) == 0
