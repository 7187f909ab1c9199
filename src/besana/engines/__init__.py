"""Where work runs. One line an engine: name -> module and class."""

from __future__ import annotations

from importlib import import_module

from besana.config import check_keys
from besana.engines.base import Engine

ENGINES = {
    "local": "besana.engines.local:LocalEngine",
    "spark": "besana.engines.spark:SparkEngine",
}


def open_engine(name: str = "local", workers: int | None = None) -> Engine:
    """Open an engine by name.

    Args:
        name: A name in `ENGINES`.
        workers: How many workers; None means as many as the engine finds cores.

    Raises:
        ConfigError: If there is no such engine.
    """
    check_keys([name], ENGINES, what="engine", where="[engine]")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)(workers)
    return engine


__all__ = ["ENGINES", "Engine", "open_engine"]
