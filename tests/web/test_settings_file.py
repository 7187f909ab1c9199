"""Changing besana.toml from a page: comments stay, what cannot be changed safely is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from besana.errors import ConfigError
from besana.web.gate import RefusedError
from besana.web.settings_file import change_settings, settings_version

TEXT = """\
# our farm
name = "Alto"   # the upper one

[cameras.pen]
files = "pen/**"              # below the disk
regions = {"bed-1" = [0, 0, 60, 90]}  # drawn in March

[cameras."barn 1.2".regions]   # second barn
# the door
door = [0, 0, 10, 10]   # closed in winter
gate = [
  [0, 0],  # corner
  [5, 0], [5, 5],
]
# last words
[label]
classes = ["a", "b"]
"""


def changed(folder: Path, table: Any, values: dict[str, Any], text: str = TEXT) -> str:
    (folder / "besana.toml").write_text(text)
    change_settings(folder, table, values)
    return (folder / "besana.toml").read_text()


def test_one_key_changes_and_every_other_line_stays(tmp_path: Path) -> None:
    regions = {"door": [0, 0, 12, 10], "gate": [[0, 0], [5, 0], [5, 5]], "new bed": [1, 2, 3, 4]}
    after = changed(tmp_path, ("cameras", "barn 1.2"), {"regions": regions})
    expected = TEXT.replace("door = [0, 0, 10, 10]   #", "door = [0, 0, 12, 10]   #")
    expected = expected.replace(
        "gate = [\n  [0, 0],  # corner\n  [5, 0], [5, 5],\n]\n",
        'gate = [[0, 0], [5, 0], [5, 5]]\n"new bed" = [1, 2, 3, 4]\n',
    )
    assert after == expected


def test_an_inline_table_stays_inline_and_keeps_its_comment(tmp_path: Path) -> None:
    after = changed(tmp_path, ("cameras", "pen"), {"regions": {"bed-1": [1, 1, 60, 90]}})
    assert "regions = {bed-1 = [1, 1, 60, 90]}  # drawn in March" in after
    assert after.count("#") == TEXT.count("#")


def test_a_new_table_has_one_key_a_line(tmp_path: Path) -> None:
    lens = {"model": "pinhole", "focal_px": [800.5]}
    after = changed(tmp_path, ("cameras", "pen"), {"lens": lens})
    assert '\n[cameras.pen.lens]\nmodel = "pinhole"\nfocal_px = [800.5]\n' in after
    assert tomllib.loads(after)["cameras"]["pen"]["lens"] == lens
    new = changed(tmp_path, ("cameras", "other"), {"grid": {"size_px": 64}}, "# nothing\n")
    assert new == "# nothing\n\n[cameras.other.grid]\nsize_px = 64\n"


def test_regions_give_way_to_a_grid(tmp_path: Path) -> None:
    for camera in ("pen", "barn 1.2"):
        values = {"regions": None, "grid": {"size_px": 256}}
        after = changed(tmp_path, ("cameras", camera), values)
        found = tomllib.loads(after)["cameras"][camera]
        assert "regions" not in found
        assert found["grid"] == {"size_px": 256}
        assert "# the door" in after


def test_what_was_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "besana.toml"
    path.write_text(TEXT)
    version = settings_version(tmp_path)
    path.write_text(TEXT + "# more\n")
    with pytest.raises(RefusedError) as refused:
        change_settings(tmp_path, "label", {"classes": ["c"]}, version=version)
    assert refused.value.status == 409
    assert path.read_text() == TEXT + "# more\n"


@pytest.mark.parametrize(
    "text",
    ["cameras = {pen = {files = 'x'}}\n", "cameras.pen.files = 'x'\n", "[[cameras]]\npen = 1\n"],
)
def test_what_cannot_be_changed_safely_is_left(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        changed(tmp_path, ("cameras", "pen"), {"files": "y"}, text)
    assert (tmp_path / "besana.toml").read_text() == text


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 4000), min_size=4, max_size=4)


@settings(deadline=None, max_examples=60)
@given(name=names, regions=st.dictionaries(names, shapes, max_size=4))
def test_any_name_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, regions: dict[str, list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("toml")
    table = ("cameras", name)
    changed(folder, table, {"regions": regions or {"x": [0]}})
    change_settings(folder, table, {"regions": {"y": [1]}, "time_zone": "UTC"})
    after = tomllib.loads((folder / "besana.toml").read_text())
    assert after["cameras"][name]["regions"] == {"y": [1]}
    assert (folder / "besana.toml").read_text().count("#") >= TEXT.count("#")
