"""A backup a day while the pages are served, when nobody labels."""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from served_farm import make_farm

from besana import Workspace
from besana.backup import backup_names, last_backup_at
from besana.errors import StorageError
from besana.storage import open_storage
from besana.web.desk import Desk, DeskSettings
from besana.web.keeper import Keeper

QUIET_S = 1.0


def run_alone(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread of its own: the browser's loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def made(workspace: Workspace) -> int:
    folder = workspace.path / "backups"
    return len(backup_names(open_storage(folder))) if folder.exists() else 0


def with_settings(workspace: Workspace, lines: str) -> Workspace:
    path = workspace.path / "besana.toml"
    path.write_text(f"{path.read_text()}\n[backup]\n{lines}\n")
    return Workspace(workspace.path)


def test_a_backup_waits_until_nobody_labels_and_comes_once(tmp_path):
    workspace = make_farm(tmp_path / "farm", frames=1)
    keeper = Keeper(workspace, QUIET_S)
    for _ in range(3):
        keeper.said()
        run_alone(keeper.work())
    assert made(workspace) == 0

    time.sleep(QUIET_S)
    run_alone(keeper.work())
    run_alone(keeper.work())

    assert made(workspace) == 1
    assert last_backup_at(workspace.catalog) is not None


def test_an_old_backup_is_followed_by_another(tmp_path):
    farm = with_settings(make_farm(tmp_path / "farm", frames=1), "hours = 0.0001\nkeep = 2")
    keeper = Keeper(farm, 0)
    for _ in range(3):
        run_alone(keeper.work())
        time.sleep(0.4)
    names = backup_names(open_storage(farm.path / "backups"))
    assert len(set(names)) == 2


def test_who_wants_none_gets_none(tmp_path):
    farm = with_settings(make_farm(tmp_path / "farm", frames=1), "hours = 0")
    run_alone(Keeper(farm, 0).work())
    assert made(farm) == 0


def test_a_place_that_refuses_is_tried_again_later_not_at_once(tmp_path):
    (tmp_path / "disk").write_text("not a folder")
    farm = with_settings(make_farm(tmp_path / "farm", frames=1), f'to = "{tmp_path}/disk"')
    keeper = Keeper(farm, 0)
    with pytest.raises(StorageError):
        run_alone(keeper.work())
    run_alone(keeper.work())
    assert last_backup_at(farm.catalog) is None


def test_the_pages_make_one_while_they_are_served(tmp_path):
    workspace = make_farm(tmp_path / "farm", frames=1)
    desk = Desk(workspace, DeskSettings())
    desk.keeper = Keeper(workspace, 0)

    async def serve() -> None:
        watching = asyncio.create_task(desk.watch())
        until = time.monotonic() + 60
        while not made(workspace) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        watching.cancel()

    run_alone(serve())
    desk.close()
    assert made(workspace) == 1
