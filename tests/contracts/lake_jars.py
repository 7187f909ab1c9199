"""Java programs that read Delta tables, fetched once with Maven: Delta for Spark, and Presto.

`python tests/contracts/lake_jars.py` fetches them, 460 MB; .ci/run does. It needs no besana.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

# The newest Delta there is; it wants the Spark that constraints.txt pins.
DELTA = "4.4.0"
PRESTO = "0.287"
# Presto's own reads classes of Java 16 at most.
ASM = "9.7.1"
MAVEN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies"


class Wanted(NamedTuple):
    """One artifact: group, name and version, what kind, and whether with all that it needs."""

    coordinates: str
    kind: str = "jar"
    alone: bool = True


PROGRAMS = {
    f"delta-{DELTA}": [
        Wanted(f"io.delta:delta-spark_4.2_2.13:{DELTA}"),
        Wanted(f"io.delta:delta-storage:{DELTA}"),
        Wanted(f"io.delta:delta-kernel-api:{DELTA}"),
        Wanted(f"io.delta:delta-kernel-defaults:{DELTA}"),
        Wanted(f"io.delta:delta-kernel-unitycatalog:{DELTA}"),
    ],
    f"presto-{PRESTO}": [
        Wanted(f"com.facebook.presto:presto-main:{PRESTO}", alone=False),
        Wanted(f"com.facebook.presto:presto-delta:{PRESTO}", kind="zip"),
        *(Wanted(f"org.ow2.asm:{name}:{ASM}") for name in ("asm", "asm-tree", "asm-analysis")),
        Wanted(f"org.ow2.asm:asm-util:{ASM}"),
    ],
}


def folder_of(program: str) -> Path | None:
    """Find the folder of `delta` or `presto`; None where nobody fetched it."""
    (name,) = (name for name in PROGRAMS if name.startswith(f"{program}-"))
    folder = _cache() / name
    return folder if folder.is_dir() else None


def fetch(name: str) -> None:
    """Fetch a program with Maven; its folder appears when all of it is there."""
    target = _cache() / name
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch)
        (folder / "pom.xml").write_text(_project(PROGRAMS[name]))
        words = ["mvn", "-q", "-B", MAVEN, "-DincludeScope=runtime"]
        subprocess.run([*words, f"-DoutputDirectory={folder / 'lib'}"], cwd=folder, check=True)
        for path in (folder / "lib").glob("*.zip"):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder / "lib" / "plugin")
            path.unlink()
        shutil.move(folder / "lib", target)


def _project(wanted: list[Wanted]) -> str:
    nothing = "<exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
    dependencies = []
    for one in wanted:
        group, name, version = one.coordinates.split(":")
        without = f"<exclusions>{nothing}</exclusions>" if one.alone else ""
        dependencies.append(
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{version}</version><type>{one.kind}</type>{without}</dependency>"
        )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>besana</groupId>"
        "<artifactId>lake-readers</artifactId><version>1</version>"
        f"<dependencies>{''.join(dependencies)}</dependencies></project>"
    )


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "besana" / "java"


def main() -> None:
    """Fetch what is named, or all."""
    for name in PROGRAMS:
        if not sys.argv[1:] or name.split("-")[0] in sys.argv[1:]:
            fetch(name)


if __name__ == "__main__":
    main()
