"""One training of a trial in a process of its own, as somebody at a terminal has it.

`python -m besana.trial_training FOLDER JSON` prints what the training took up and how long it took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from besana import pipeline
from besana.errors import BesanaError
from besana.workspace import Workspace


def run(folder: Path, tables: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train in a trial's workspace.

    Args:
        folder: The workspace.
        tables: Its settings, which no file has.
        settings: What is different in this training.

    Returns:
        `items` and `seconds`, in which libraries were loaded, too.
    """
    workspace = Workspace(folder)
    workspace.tables = dict(tables)
    started = time.monotonic()
    config = pipeline.stage_settings(workspace, "train", settings)
    report = pipeline.stage("train").run(workspace, config, None)
    return {"items": report.counts_in, "seconds": time.monotonic() - started}


def main() -> None:
    """Train as the command line says; what goes wrong is one line on stderr."""
    given = json.loads(sys.argv[2])
    try:
        sys.stdout.write(json.dumps(run(Path(sys.argv[1]), **given)) + "\n")
    except BesanaError as error:
        sys.stderr.write(f"{error.problem}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
