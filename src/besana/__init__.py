"""Besana: from farm camera images to a classifier in production and the answers it gives.

>>> import besana
>>> farm = besana.Workspace("farm")  # doctest: +SKIP
>>> reports = besana.run(farm, first="clean", last="evaluate")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from besana.errors import BesanaError
    from besana.pipeline import run, run_stage
    from besana.stages import STAGES
    from besana.workspace import Report, Workspace

__version__ = "0.1.0"

# Name -> where it comes from; imported at first use, so that `import besana` stays instant.
_NAMES = {
    "BesanaError": "besana.errors",
    "Report": "besana.workspace",
    "STAGES": "besana.stages",
    "Workspace": "besana.workspace",
    "run": "besana.pipeline",
    "run_stage": "besana.pipeline",
}

__all__ = ["STAGES", "BesanaError", "Report", "Workspace", "__version__", "run", "run_stage"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'besana' has no attribute '{name}'")
