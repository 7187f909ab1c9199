from __future__ import annotations

import re
from pathlib import Path

import pytest

from besana.commands import demo
from besana.errors import ConfigError
from besana.stages import STAGES

TINY = demo.Config(
    days=3, interval_s=3600, width_px=320, workers=1, train={"epochs": 1, "threads": 1}
)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # with everything that a busy machine does beside
def test_demo_walks_all_stages_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    reports = demo.run(tmp_path / "farm", TINY)
    printed = capsys.readouterr().out
    assert list(reports) == list(STAGES)
    assert reports["collect"].counts_in == 72
    assert re.search(r"all +│ 7\d", printed)
    assert all(name in printed for name in ("bed-1", "bed-3", "day", "ir", "2025-03-05 *"))
    assert "reports/index.html" in printed
    again = demo.run(tmp_path / "farm", TINY)
    assert {name: again[name].counts_out for name in ("clean", "prepare", "label")} == {
        "clean": 0,
        "prepare": 0,
        "label": 0,
    }


def test_demo_leaves_a_workspace_alone(tmp_path: Path) -> None:
    (tmp_path / "besana.toml").write_text("")
    with pytest.raises(ConfigError, match="a workspace already"):
        demo.run(tmp_path, TINY)


def test_a_fifth_of_the_days_is_test() -> None:
    assert [demo.Config(days=days).test_days for days in (3, 7, 14)] == [1, 1, 3]
