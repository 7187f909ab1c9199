"""A workspace: its places, settings, cameras and reports."""

import datetime as dt
import shlex

import pytest
from pydantic import Field

from besana import pipeline
from besana.config import Settings
from besana.errors import ConfigError, NotFoundError, NotReadyError, StorageError
from besana.storage import Bucket, Folder
from besana.workspace import Report, Workspace


class Example(Settings):
    blur_below: float = Field(default=40.0, ge=0, description="Sharpness.")


def make(tmp_path, text=""):
    return Workspace.create(tmp_path / "farm", text)


def test_create_makes_the_folder_and_keeps_what_is_there(tmp_path):
    first = Workspace.create(tmp_path / "deep" / "farm", 'name = "pens"\n')
    again = Workspace.create(tmp_path / "deep" / "farm", 'name = "other"\n')
    assert first.name == again.name == "pens"
    assert [path.name for path in first.path.iterdir()] == ["besana.toml"]


def test_a_folder_without_settings_is_no_workspace(tmp_path):
    with pytest.raises(NotFoundError) as caught:
        Workspace(tmp_path)
    assert caught.value.problem == f"No workspace in '{tmp_path}'."
    assert caught.value.hint == f"Run: besana init {tmp_path}"


def test_a_workspace_cannot_be_made_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file/farm"):
        Workspace.create(tmp_path / "file" / "farm")


def test_the_name_is_the_folders_unless_it_is_set(tmp_path):
    assert make(tmp_path).name == "farm"


def test_settings_read_their_table(tmp_path):
    workspace = make(tmp_path, "[clean]\nblur_below = 3\n")
    assert workspace.settings("clean", Example).blur_below == 3.0
    assert workspace.settings("split", Example).blur_below == 40.0


def test_settings_name_their_table_in_errors(tmp_path):
    workspace = make(tmp_path, "[clean]\nblur = 3\n")
    with pytest.raises(ConfigError, match=r"Unknown setting 'blur' in \[clean\]"):
        workspace.settings("clean", Example)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae = 'x'", r"Unknown setting 'nmae' in besana.toml. Did you mean 'name'"),
        ("[claen]", r"Unknown table 'claen' in besana.toml. Did you mean 'clean'"),
        ("clean = 3", r"Unknown setting 'clean' in besana.toml"),
        ("[clean]\nblur_bellow = 3", r"Unknown setting 'blur_bellow' in \[clean\]"),
        ("[engine]\nworkers = 0", r"'workers' in \[engine\] is 0"),
        ("[cameras.pen]\ntime_zone = 'Mars/Base'", r"\[cameras.pen\].*unknown time zone"),
        ("[cameras]\npen = 3", r"'cameras.pen' is not a table"),
        ("[cameras.pen.lens]\nmodle = 'fisheye'", r"'lens.modle' in \[cameras.pen\].*'model'"),
        ("[bands]\nnir = 3", r"Band 'nir' in \[bands\] is 3"),
    ],
)
def test_a_mistake_in_the_settings_is_found_before_anything_runs(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        pipeline.check_settings(make(tmp_path, text))


def test_cameras_come_from_the_settings_and_others_are_plain(tmp_path):
    workspace = make(tmp_path, "[cameras.pen-a]\ntime_zone = 'Asia/Shanghai'\n")
    assert list(workspace.cameras) == ["pen-a"]
    assert workspace.camera("pen-a").time_zone == "Asia/Shanghai"
    assert workspace.camera("other").name == "other"
    assert workspace.camera("other").time_zone == "UTC"


def test_there_is_one_band_unless_bands_are_named(tmp_path):
    assert dict(make(tmp_path).bands) == {"rgb": ""}
    named = Workspace.create(tmp_path / "field", "[bands]\nrgb = 'rgb/*'\nnir = 'nir/*'\n")
    assert list(named.bands) == ["rgb", "nir"]


def test_places_lie_in_the_workspace(tmp_path):
    workspace = make(tmp_path)
    workspace.frames.write("ab/x.jpg", b"x")
    assert (workspace.path / "frames/ab/x.jpg").read_bytes() == b"x"
    for place in (workspace.runs, workspace.reports, workspace.temporary):
        assert place.is_dir()
        assert place.parent == workspace.path


def test_heavy_places_may_lie_elsewhere(tmp_path):
    here = make(tmp_path, f"store = '{tmp_path / 'disk'}'\n")
    assert isinstance(here.shards, Folder)
    assert here.shards.url == str(tmp_path / "disk/shards")
    there = Workspace.create(tmp_path / "b", "store = 's3://bucket/farms/one/'\n")
    for name in ("frames", "shards", "datasets", "embeddings", "models"):
        storage = getattr(there, name)
        assert isinstance(storage, Bucket)
        assert storage.url == f"s3://bucket/farms/one/{name}"
    relative = Workspace.create(tmp_path / "c", "store = 'disk'\n")
    assert relative.frames.url == str(tmp_path / "c/disk/frames")


def test_an_address_with_one_slash_is_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="'s3:/bucket/farms': an address has two slashes"):
        Workspace.create(tmp_path / "farm", "store = 's3:/bucket/farms'\n")


def test_the_catalog_opens_at_first_use(tmp_path):
    workspace = make(tmp_path)
    assert not (workspace.path / "catalog.db").exists()
    workspace.catalog.close()
    assert (workspace.path / "catalog.db").exists()


def test_the_engine_comes_from_the_settings(tmp_path):
    workspace = make(tmp_path, "[engine]\nworkers = 3\n")
    assert workspace.open_engine().workers == 3
    assert workspace.open_engine(workers=1).workers == 1
    with pytest.raises(ConfigError, match="Unknown engine 'spork'"):
        workspace.open_engine("spork")


def test_a_report_counts():
    report = Report("clean", dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
    report.count_in(10)
    report.count_out(7)
    report.drop("dark", 2)
    report.drop("dark")
    report.drop("blurry", 0)
    report.fact("images_per_s", 70.5)
    assert (report.counts_in, report.counts_out) == (10, 7)
    assert report.dropped == {"dark": 3}
    assert report.facts == {"images_per_s": 70.5}


def test_a_hint_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    workspace = Workspace.create(tmp_path / "my farm; rm -r x")
    with pytest.raises(NotReadyError) as caught:
        pipeline.run_stage(workspace, "split")
    assert shlex.split(caught.value.hint)[-1] == str(workspace.path)
