"""How trainers learn one network together. One line a way: name -> module and class."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from besana.config import check_keys

if TYPE_CHECKING:
    from besana.learning.learner import Learner

PARALLEL = {
    "single": "besana.learning.parallel_single:Single",
    "ddp": "besana.learning.parallel_ddp:Ddp",
    "local-sgd": "besana.learning.parallel_local_sgd:LocalSgd",
    "delayed": "besana.learning.parallel_delayed:Delayed",
    "hybrid": "besana.learning.parallel_hybrid:Hybrid",
}


def open_learner(name: str, *arguments: Any) -> Learner:
    """Open the learner of that name.

    Args:
        name: A name in `PARALLEL`.
        arguments: As for `Learner`.

    Raises:
        ConfigError: If there is no such way.
    """
    check_keys([name], PARALLEL, what="way to learn together", where="[train]")
    module, _, attribute = PARALLEL[name].partition(":")
    learner: Learner = getattr(import_module(module), attribute)(*arguments)
    return learner
