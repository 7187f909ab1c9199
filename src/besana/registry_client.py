"""How MLflow is opened: without telemetry or chatter, its file whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from besana.errors import MissingExtraError, StorageError
from besana.storage import Folder

_FILE = "sqlite:///"


def open_client(uri: str) -> Any:
    """Import MLflow and open its client.

    MLflow makes the tables of a new file in some forty steps, and cannot go on where it was
    killed; so they are made in a file elsewhere, which appears when it is complete.

    Args:
        uri: `sqlite:///path`, or the address of an MLflow server.

    Raises:
        MissingExtraError: If MLflow is not installed.
        StorageError: If the file cannot be made or read.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    # A server that is down is told within seconds; MLflow's own default takes minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    with without_warnings():
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise MissingExtraError(
                "Training and registering need MLflow.", 'Run: pip install "besana[train]"'
            ) from None
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if uri.startswith(_FILE):
            return _open_file(Path(uri.removeprefix(_FILE)), MlflowClient)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _open_file(path: Path, client: Any) -> Any:
    from sqlalchemy.exc import SQLAlchemyError

    uri = f"{_FILE}{path}"
    try:
        if not path.exists():
            with tempfile.TemporaryDirectory() as folder:
                new = Path(folder, "new.db")
                client(tracking_uri=f"{_FILE}{new}", registry_uri=f"{_FILE}{new}")
                Folder(path.parent).write(path.name, new.read_bytes(), replace=False)
        _check_made(path)
        return client(tracking_uri=uri, registry_uri=uri)
    except (SQLAlchemyError, sqlite3.Error) as error:
        reason = getattr(error, "orig", None) or error
        raise StorageError(
            f"The MLflow store {path} refused: {reason}.", "Check the disk and the file."
        ) from None


def _check_made(path: Path) -> None:
    """Refuse a file whose making was cut short: MLflow's last step is its first experiment."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'")
        if tables.fetchone() and database.execute("SELECT 1 FROM experiments").fetchone():
            return
    raise StorageError(
        f"The MLflow store {path} was left half made; nothing is in it.",
        "Remove the file and run the same command again.",
    )


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Silence what MLflow and the libraries below it say about their own future."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield
