"""A project's places: where each stage finds its input and leaves its output."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, field_validator

from besana.catalog import Catalog
from besana.config import Settings, parse, read_toml
from besana.engines import ENGINES, Engine, open_engine
from besana.errors import ConfigError, NotFoundError, StorageError
from besana.images.camera import Camera
from besana.storage import Folder, Storage, open_storage

SETTINGS_FILE = "besana.toml"
CATALOG_FILE = "catalog.db"

S = TypeVar("S", bound=Settings)
Scalar = str | int | float | bool | dt.datetime | None


class WorkspaceSettings(Settings):
    """The settings above the tables of `besana.toml`."""

    name: str = Field(default="", description="Name of the project; empty: the folder's name.")
    catalog: str = Field(
        default="", description="postgresql://user@host/database; empty: SQLite in the workspace."
    )
    store: str = Field(
        default="",
        description="Folder or bucket (s3://bucket/prefix) for the heavy folders; empty: here.",
    )

    @field_validator("store")
    @classmethod
    def _is_a_folder_or_an_address(cls, value: str) -> str:
        if re.match("[A-Za-z0-9]{2,}:", value) and "://" not in value:
            raise ValueError("an address has two slashes, as in s3://bucket/prefix")
        return value


class EngineSettings(Settings):
    """The `[engine]` table: where work runs."""

    name: str = Field(default="local", description=f"Where work runs: {', '.join(ENGINES)}.")
    workers: int | None = Field(
        default=None, ge=1, description="Workers at the same time; empty: one a core."
    )


class Workspace:
    """One project: a folder with `besana.toml`, its catalog and its heavy folders.

    Args:
        path: The folder.

    Raises:
        NotFoundError: If there is no `besana.toml` in the folder.
        ConfigError: If `besana.toml` is not valid.
    """

    def __init__(self, path: str | Path = ".") -> None:
        self.path = Path(path).absolute()
        if not (self.path / SETTINGS_FILE).is_file():
            raise NotFoundError(
                f"No workspace in '{path}'.", f"Run: besana init {shlex.quote(str(path))}"
            )
        self.read_settings()

    def read_settings(self) -> None:
        """Read `besana.toml`, again when it was changed.

        Raises:
            ConfigError: If it is not valid.
        """
        for cached in ("cameras", "bands"):
            vars(self).pop(cached, None)
        self.tables = read_toml(self.path / SETTINGS_FILE)
        own = {key: value for key, value in self.tables.items() if not isinstance(value, dict)}
        self._settings = parse(WorkspaceSettings, own, where=SETTINGS_FILE)

    @staticmethod
    def create(path: str | Path, text: str = "") -> Workspace:
        """Make a workspace, or open the one that is there.

        Args:
            path: The folder, made when missing.
            text: Content of `besana.toml` when there is none yet.

        Raises:
            StorageError: If the folder cannot be made.
        """
        settings = Path(path) / SETTINGS_FILE
        try:
            if not settings.exists():
                Folder(Path(path)).write(SETTINGS_FILE, text.encode(), replace=False)
        except OSError as error:
            raise StorageError(
                f"Cannot make a workspace in '{path}': {error}.", "Choose another folder."
            ) from None
        return Workspace(path)

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Name of the project."""
        return self._settings.name or self.path.name

    @property
    def word(self) -> str:
        """The folder as one word of a command line."""
        return shlex.quote(str(self.path))

    @cached_property
    def catalog(self) -> Catalog:
        """The rows of this workspace, opened at first use."""
        return Catalog(self._settings.catalog or f"sqlite:///{self.path / CATALOG_FILE}")

    @cached_property
    def cameras(self) -> Mapping[str, Camera]:
        """The cameras of `besana.toml` by name, calibration files read in.

        Raises:
            ConfigError: If one of them is not valid.
        """
        tables = self._table("cameras")
        cameras = {}
        for name, values in tables.items():
            if not isinstance(values, dict):
                raise ConfigError(f"'cameras.{name}' is not a table.", f"Write [cameras.{name}].")
            where = f"[cameras.{name}]"
            camera = parse(Camera, {"name": name, **values}, where=where)
            cameras[name] = camera.located(self.path)
        return cameras

    def camera(self, name: str) -> Camera:
        """Give the camera of that name; one without lens and regions when nobody configured it."""
        return self.cameras.get(name) or Camera(name=name)

    @cached_property
    def bands(self) -> Mapping[str, str]:
        """Band name -> pattern of its files; one band `rgb` that is every file by default."""
        table = self._table("bands") or {"rgb": ""}
        for name, pattern in table.items():
            if not isinstance(pattern, str):
                raise ConfigError(
                    f"Band '{name}' in [bands] is {pattern!r}.", "Use a file pattern, as 'nir/*'."
                )
        return table

    def settings(self, section: str, model: type[S]) -> S:
        """Read one table of `besana.toml`; a missing table means every default.

        Raises:
            ConfigError: If a key or value in it is wrong.
        """
        return parse(model, self._table(section), where=f"[{section}]")

    def open_engine(self, name: str | None = None, workers: int | None = None) -> Engine:
        """Open the engine named here, or the one of the `[engine]` table."""
        chosen = self.settings("engine", EngineSettings)
        return open_engine(name or chosen.name, workers or chosen.workers)

    def _table(self, section: str) -> dict[str, Any]:
        table = self.tables.get(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"'{section}' in besana.toml is not a table.", f"Write [{section}].")
        return table

    @property
    def frames(self) -> Storage:
        """Original bytes, named by SHA-256."""
        return self._heavy("frames")

    @property
    def shards(self) -> Storage:
        """Prepared samples as TFRecord."""
        return self._heavy("shards")

    @property
    def datasets(self) -> Storage:
        """Frozen datasets: `<name>/<version>/manifest.parquet` and `dataset.json`."""
        return self._heavy("datasets")

    @property
    def embeddings(self) -> Storage:
        """One vector a sample and backbone."""
        return self._heavy("embeddings")

    @property
    def models(self) -> Storage:
        """Registered model versions: `<name>/<version>/`."""
        return self._heavy("models")

    @property
    def runs(self) -> Path:
        """Trainings with their checkpoints, always on this machine."""
        return self._made("runs")

    @property
    def reports(self) -> Path:
        """What stage runs leave for people."""
        return self._made("reports")

    @property
    def temporary(self) -> Path:
        """Scratch space on the workspace's own disk; whatever lies there may be deleted."""
        return self._made(".temporary")

    def _heavy(self, folder: str) -> Storage:
        store = self._settings.store
        if not store:
            return Folder(self.path / folder)
        if "://" not in store:
            return Folder(self.path / store / folder)
        return open_storage(f"{store.rstrip('/')}/{folder}")

    def _made(self, folder: str) -> Path:
        path = self.path / folder
        path.mkdir(exist_ok=True)
        return path


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words.

    Attributes:
        title: An English phrase; pages translate it, as they do with column names and notes.
        columns: Names of the columns, as snake_case words with units in suffixes or phrases.
        rows: One sequence a row, as long as `columns`.
        note: A sentence below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Scalar]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """One small JPEG or PNG with what to say below it."""

    data: bytes
    caption: str


@dataclass(frozen=True)
class Pictures:
    """A sheet of small pictures."""

    title: str
    items: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG text, one for all languages or one a language (`en`, `es`)."""

    title: str
    svg: str | Mapping[str, str]
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    title: str
    text: str


Section = Table | Pictures | Plot | Text


@dataclass
class Report:
    """One stage run: what came in, what went out, what was dropped and why.

    Attributes:
        stage: The verb.
        counts_in: Items that the run took up.
        counts_out: Items that it finished.
        dropped: Items that it dropped, by reason; in = out + dropped.
        facts: Further figures, snake_case with units in suffixes.
        sections: What the page shows below the counts.
        warnings: What people should know before they trust the result.
        results: What the command line says below the counts; the page has it in detail.
        files: What else the run wrote, by name.
        settings: The settings it ran with.
    """

    stage: str
    started_at: dt.datetime
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts_in: int = 0
    counts_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Scalar] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    page: Path | None = None

    def count_in(self, count: int = 1) -> None:
        """Count items taken up."""
        self.counts_in += count

    def count_out(self, count: int = 1) -> None:
        """Count items finished."""
        self.counts_out += count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count items dropped for a reason, a snake_case word."""
        if count:
            self.dropped[reason] += count

    def fact(self, name: str, value: Scalar) -> None:
        """Note a figure under a snake_case name with its unit in the suffix."""
        self.facts[name] = value

    def add(self, section: Section) -> None:
        """Add something to the page."""
        self.sections.append(section)

    def result(self, sentence: str) -> None:
        """Say on the command line what came out."""
        self.results.append(sentence)

    def warn(self, sentence: str) -> None:
        """Say something on top of the page and on the command line."""
        self.sections.insert(len(self.warnings), Text("Warning", sentence))
        self.warnings.append(sentence)
