"""Walk through a part of the tutorial page on the real images: its commands, its settings."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "real-barn.md"
TILES = "The same barn as ready tiles"
QUARANTINE = 3


def walk(folder: Path, real_images: Path, weights: Path, *, start: str, stop: str) -> None:
    """Run what the page shows from one heading up to another.

    Bash blocks run in the folder; TOML blocks are added to the settings of the workspace that was
    begun last.

    Args:
        folder: An empty folder; it gets links to what the page expects.
        real_images: Folder of real images.
        weights: Of the network that the page names.
        start: Heading to begin at.
        stop: Heading to end before; empty for the end of the page.
    """
    (folder / "barn").symlink_to(real_images / "barn", target_is_directory=True)
    (folder / weights.name).symlink_to(weights)
    text = PAGE.read_text().partition(f"\n## {start}\n")[2]
    text = text.partition(f"\n## {stop}\n")[0] if stop else text
    settings = folder / "besana.toml"
    for language, code in re.findall(r"^```(bash|toml)\n(.*?)^```$", text, re.M | re.S):
        if language == "toml":
            with settings.open("a") as file:
                file.write(f"\n{code}")
            continue
        for command in code.replace("\\\n", " ").splitlines():
            words = shlex.split(command)
            if words[:2] == ["besana", "init"]:
                settings = folder / words[2] / "besana.toml"
            _run(words, folder)


def _run(words: list[str], folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, QUARANTINE), f"{words}\n{done.stdout}\n{done.stderr}"
