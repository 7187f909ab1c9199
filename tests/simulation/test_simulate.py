from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from besana import pipeline
from besana.commands import simulate
from besana.config import parse
from besana.errors import ConfigError
from besana.simulation.barn import Barn, BarnSettings
from besana.simulation.field import FieldSettings, write_field
from besana.workspace import Workspace


def test_simulate_makes_a_workspace_of_a_barn(tmp_path: Path) -> None:
    values = {"kind": "barn", "days": 1, "interval_s": 3600, "width_px": 320, "workers": 1}
    simulate.run(tmp_path, parse(simulate.Config, values, where="test"))
    assert len(list((tmp_path / "recorded").rglob("*.jpg"))) == 24
    pipeline.check_settings(Workspace(tmp_path))


def test_simulate_makes_a_workspace_of_a_field(tmp_path: Path) -> None:
    values = {"kind": "field", "fields": 1, "tiles": 2, "size_px": 32, "workers": 1}
    simulate.run(tmp_path, parse(simulate.Config, values, where="test"))
    assert len(list((tmp_path / "tiles" / "nir").iterdir())) == 4
    pipeline.check_settings(Workspace(tmp_path))


@pytest.mark.parametrize(("kind", "key"), [("barn", "tiles"), ("field", "days")])
def test_simulate_refuses_settings_of_the_other_kind(tmp_path: Path, kind: str, key: str) -> None:
    config = parse(simulate.Config, {"kind": kind, key: 1}, where="test")
    with pytest.raises(ConfigError, match=f"A {kind} has no '{key}'"):
        simulate.run(tmp_path, config)


@pytest.mark.parametrize("model", [BarnSettings, FieldSettings])
def test_simulate_has_every_setting_of_the_simulation(
    model: type[BarnSettings] | type[FieldSettings],
) -> None:
    shown = {name: field.default for name, field in simulate.Config.model_fields.items()}
    assert {name: shown.get(name) for name in model.model_fields} == {
        name: field.default for name, field in model.model_fields.items()
    }


def test_help_is_one_sentence() -> None:
    first = (inspect.getdoc(simulate) or "").splitlines()[0]
    assert first.endswith(".")


def test_settings_of_a_barn_fit_its_camera(farm: Barn) -> None:
    camera = Workspace(farm.path).camera("barn-1")
    assert camera.lens.model == "fisheye"
    assert [region.name for region in camera.region_list((640, 360))] == ["bed-1", "bed-2", "bed-3"]


def test_lens_of_the_images_room_agrees_with_the_simulated_camera(farm: Barn) -> None:
    import numpy as np

    from besana.simulation.recording import view_of

    lens = Workspace(farm.path).camera("barn-1").lens
    view = view_of(farm.settings)
    points = np.stack(np.meshgrid(np.arange(0, 640, 40), np.arange(0, 360, 40)), -1).reshape(-1, 2)
    ours = view.distort(points)
    assert lens.distort_points(points.astype(float), (640, 360)) == pytest.approx(ours, abs=1e-6)
    assert lens.undistort_points(ours, (640, 360)) == pytest.approx(points, abs=0.05)


def test_layouts_are_settings_that_collect_knows(tmp_path: Path) -> None:
    for layout in ("bands", "agriculture_vision"):
        made = write_field(tmp_path / layout, FieldSettings(fields=1, tiles=1, layout=layout))
        workspace = Workspace(made.path)
        pipeline.check_settings(workspace)
        assert workspace.tables["collect"]["layout"] == layout
