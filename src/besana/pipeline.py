"""Walk the stages: one, or a stretch of the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from besana.backup import BackupSettings
from besana.config import Settings, check_keys, parse
from besana.costs.bills import billing
from besana.costs.settings import CostSettings
from besana.engines import Engine
from besana.errors import ConfigError, disk_refusals
from besana.learning.ranks import attends
from besana.progress import progress_noted
from besana.stages import STAGES
from besana.workspace import EngineSettings, Report, Workspace

# Tables of besana.toml that belong to no stage.
OTHER_TABLES = ("cameras", "bands", "engine", "costs", "backup")


def stage(name: str) -> ModuleType:
    """Import the module of a stage.

    Raises:
        ConfigError: If there is no such stage.
    """
    check_keys([name], STAGES, what="stage", where="the way of the data")
    return import_module(f"besana.stages.{name}")


def stretch(first: str | None, last: str | None) -> list[str]:
    """List the stages from one to another, both included.

    Raises:
        ConfigError: If a name is unknown, or the last comes before the first.
    """
    names = list(STAGES)
    check_keys(
        (name for name in (first, last) if name), names, what="stage", where="the way of the data"
    )
    start = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    if end < start:
        raise ConfigError(f"'{last}' comes before '{first}'.", f"The order is {', '.join(names)}.")
    return names[start : end + 1]


def check_settings(workspace: Workspace) -> None:
    """Check all of `besana.toml`, not only the tables that one stage reads.

    Raises:
        ConfigError: If a table or a key is unknown, or a value is wrong.
    """
    tables = [name for name, value in workspace.tables.items() if isinstance(value, dict)]
    check_keys(tables, [*STAGES, *OTHER_TABLES], what="table", where="besana.toml")
    for name in STAGES:
        if name in workspace.tables:
            workspace.settings(name, stage(name).Config)
    workspace.settings("engine", EngineSettings)
    workspace.settings("costs", CostSettings)
    workspace.settings("backup", BackupSettings)
    _ = workspace.cameras, workspace.bands


def stage_settings(workspace: Workspace, name: str, overrides: Mapping[str, Any]) -> Settings:
    """Read a stage's settings from `besana.toml`, with some of them replaced.

    Raises:
        ConfigError: If a key or value is wrong.
    """
    model: type[Settings] = stage(name).Config
    own = workspace.settings(name, model)
    if not overrides:
        return own
    values = own.model_dump(exclude_unset=True)
    return parse(model, {**values, **overrides}, where=f"[{name}]")


def run_stage(
    workspace: Workspace,
    name: str,
    overrides: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
) -> Report:
    """Run one stage, within the budget, and write its bill.

    Of the trainers that torchrun starts, the first runs the stage; the others train with it, and
    their process ends.

    Args:
        workspace: Where it reads and writes.
        name: The verb.
        overrides: Settings that replace those of `besana.toml`.
        engine: Where the work runs; None means what `[engine]` says.

    Raises:
        BesanaError: What the stage raises, or that it would pass the budget.
    """
    config = stage_settings(workspace, name, overrides or {})
    if name == "train" and attends():
        stage(name).attend(config)
        # At Python's own exit a thread of torch aborted one such process in twenty ("terminate
        # called without an active exception"), and torchrun then ended the first trainer too.
        os._exit(0)
    with (
        disk_refusals(),
        billing(workspace, name, config) as bill,
        progress_noted(workspace.temporary, name),
    ):
        report: Report = stage(name).run(workspace, config, engine or workspace.open_engine())
        bill.counts_in = report.counts_in
    return report


def run(
    workspace: Workspace | str,
    *,
    first: str | None = None,
    last: str | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    engine: Engine | None = None,
) -> dict[str, Report]:
    """Walk the stages in their order and return their reports.

    Args:
        workspace: A workspace or its folder.
        first: The first stage; None means the first of all.
        last: The last stage; None means the last of all.
        overrides: Settings by stage that replace those of `besana.toml`.
        engine: Where the work runs; None means what `[engine]` says.

    Raises:
        ConfigError: If a stage or setting is unknown.
        BesanaError: What a stage raises; the stages before it stay done.
    """
    opened = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    check_settings(opened)
    overrides = overrides or {}
    check_keys(overrides, STAGES, what="stage", where="overrides")
    return {
        name: run_stage(opened, name, overrides.get(name), engine) for name in stretch(first, last)
    }
