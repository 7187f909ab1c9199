"""The command line: its help, its messages, its exit status."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from besana import __version__
from besana.cli import main
from besana.commands import COMMANDS
from besana.stages import STAGES
from besana.workspace import Workspace


@pytest.fixture
def farm(tmp_path):
    """An empty workspace; the fixture of the simulated farm is not needed here."""
    return Workspace.create(tmp_path / "farm").path


@pytest.fixture
def call(capsys):
    """Run the command line in this process; return status, standard output and error."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
            status = 0
        except SystemExit as leaving:
            status = leaving.code or 0
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def picture(path, shade=120):
    import numpy as np
    import simplejpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(shade).integers(0, 100, (48, 64, 3), dtype=np.uint8)
    path.write_bytes(simplejpeg.encode_jpeg(noise + np.uint8(shade)))


# Help


def test_help_shows_every_verb_with_its_sentence(call):
    status, out, _ = call("--help")
    assert status == 0
    text = " ".join(out.replace("│", " ").split())
    for verb, summary in {**STAGES, **COMMANDS}.items():
        assert f"{verb} {summary}" in text
    places = [text.index(f" {verb} {summary}") for verb, summary in STAGES.items()]
    assert places == sorted(places)


def test_no_words_show_the_help(call):
    status, out, err = call()
    assert status == 2
    assert "Usage: besana" in out + err


def test_version(call):
    assert call("--version") == (0, f"besana {__version__}\n", "")


def test_help_of_a_stage_has_options_from_its_settings_and_an_example(call):
    status, out, _ = call("collect", "--help")
    assert status == 0
    for text in ("--in-place", "--no-in-place", "--metadata", "--workers", "FARM", "SOURCE"):
        assert text in out
    assert "Example: besana collect farm /media/card/DCIM" in out


# Messages and status


def test_an_unknown_verb_is_a_usage_error(call):
    status, _, err = call("colect", "farm")
    assert status == 2
    assert "colect" in err
    assert "collect" in err


def test_an_unknown_option_is_a_usage_error(call, farm):
    status, _, err = call("status", farm, "--colour")
    assert status == 2
    assert "--colour" in err


def test_a_value_of_the_wrong_kind_is_a_usage_error(call, farm):
    status, _, err = call("collect", farm, "--max-pixels", "many")
    assert status == 2
    assert "--max-pixels" in err


def test_a_word_that_is_not_among_the_choices_is_a_usage_error(call, farm):
    status, _, err = call("collect", farm, "--layout", "heap")
    assert status == 2
    assert "heap" in err


@pytest.mark.parametrize("text", ["{pad_type = 'odd'}", '{"pad_type": "odd"}'])
def test_a_table_is_an_option_as_in_the_settings_or_json(call, farm, text):
    status, _, err = call("embed", farm, "--backbone-options", text)
    assert (status, err) == (0, "")


def test_a_table_that_cannot_be_read_is_a_usage_error(call, farm):
    status, _, err = call("embed", farm, "--backbone-options", "pad_type=same")
    assert status == 2
    assert "neither a TOML table nor JSON" in err.replace("\n", " ")


def test_a_missing_word_is_a_usage_error(call):
    status, _, err = call("simulate")
    assert status == 2
    assert "KIND" in err


def test_an_error_says_problem_and_hint_without_a_traceback(call, tmp_path):
    nowhere = tmp_path / "nowhere"
    status, out, err = call("status", nowhere)
    assert (status, out) == (1, "")
    assert err == f"Error: No workspace in '{nowhere}'.\nRun: besana init {nowhere}\n"


@pytest.mark.parametrize("words", ["clean FARM", "plan FARM --frames 1000"])
def test_a_disk_that_refuses_is_an_error_without_a_traceback(farm, words):
    Workspace(farm).catalog.close()
    done = subprocess.run(
        [sys.executable, "-m", "besana", *words.replace("FARM", str(farm)).split()],
        capture_output=True,
        text=True,
        check=False,
        # Python would leave compiled modules cut short, which break whoever comes next.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 2
    assert "Check the disk" in done.stderr


def test_traceback_shows_where_an_error_came_from(tmp_path):
    command = [sys.executable, "-m", "besana", "status", str(tmp_path), "--traceback"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "No workspace in" in done.stderr


def test_a_setting_out_of_range_is_an_error_of_its_name(call, farm):
    status, _, err = call("collect", farm, "--mask-share", "3")
    assert status == 1
    assert "Setting 'mask_share' in [collect] is 3.0" in err
    assert "Traceback" not in err


def test_a_mistake_in_the_settings_stops_every_command_that_works(call, farm):
    (farm / "besana.toml").write_text("[claen]\n")
    status, _, err = call("status", farm)
    assert status == 1
    assert "Unknown table 'claen' in besana.toml.\nDid you mean 'clean'?" in err


def test_a_missing_argument_is_named(call, farm):
    status, _, err = call("sql", farm)
    assert status == 2
    assert "QUERY" in err


def test_frames_in_quarantine_are_status_3(call, farm, tmp_path):
    picture(tmp_path / "card/a/1.jpg")
    (tmp_path / "card/a/2.jpg").write_text("<html>Not found</html>")
    status, out, _ = call("collect", farm, tmp_path / "card", "--settle-s", 0, "--workers", 1)
    assert status == 3
    assert "collect: 2 in, 1 out, dropped: not_an_image 1" in out
    assert call("status", farm)[0] == 0


def test_all_good_is_status_0_and_quiet_says_nothing(call, farm, tmp_path):
    picture(tmp_path / "card/a/1.jpg")
    words = ("collect", farm, tmp_path / "card", "--settle-s", 0, "--workers", 1, "--quiet")
    assert call(*words) == (0, "", "")


def test_an_option_wins_over_the_settings(call, farm, tmp_path):
    (farm / "besana.toml").write_text("[collect]\nsettle_s = 0\nmax_pixels = 10\n")
    picture(tmp_path / "card/a/1.jpg")
    status, out, _ = call("collect", farm, tmp_path / "card", "--max-pixels", 5000, "--workers", 1)
    assert status == 0
    assert "1 in, 1 out" in out


# init, sql, status, run


def test_init_writes_a_commented_file_once(call, tmp_path):
    status, out, _ = call("init", tmp_path / "farm")
    assert status == 0
    assert "Next: besana collect" in out
    text = (tmp_path / "farm/besana.toml").read_text()
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert Workspace(tmp_path / "farm").tables == {}
    status, _, err = call("init", tmp_path / "farm")
    assert status == 1
    assert "is a workspace already" in err
    assert (tmp_path / "farm/besana.toml").read_text() == text


def test_sql_prints_a_table_csv_or_json(call, farm):
    query = "SELECT 'ä,\"1\"' AS name, 1.5 AS share, NULL AS gone"
    assert call("sql", farm, query, "--form", "csv")[1] == ('name,share,gone\r\n"ä,""1""",1.5,\r\n')
    out = call("sql", farm, query, "--form", "json")[1]
    assert json.loads(out) == {"name": 'ä,"1"', "share": 1.5, "gone": None}
    assert "share" in call("sql", farm, query)[1]


def test_brackets_in_names_are_printed_and_mean_nothing(call, tmp_path):
    folder = tmp_path / "barn"
    Workspace.create(folder, 'name = "[red]barn[/bold] :cow:"\n')
    status, out, _ = call("sql", folder, "select '[/red] scale = [low, high] :cow:' as what")
    assert status == 0
    assert "[/red] scale = [low, high] :cow:" in out
    status, out, _ = call("status", folder)
    assert status == 0
    assert "[red]barn[/bold] :cow:" in out


def test_sql_refuses_to_write(call, farm):
    status, _, err = call("sql", farm, "DELETE FROM frames")
    assert status == 1
    assert "The catalog refused" in err


def test_status_names_every_stage(call, farm):
    status, out, _ = call("status", farm)
    assert status == 0
    assert all(stage in out for stage in STAGES)
    assert "Free on disk" in out


def test_status_says_what_the_last_run_came_to(call, farm):
    (farm / "reports").mkdir()
    report = {"started_at": "2026-03-01T10:15:00.000+00:00", "results": ["accuracy 91.0 %"]}
    (farm / "reports/evaluate.json").write_text(json.dumps(report))
    row = next(line for line in call("status", farm)[1].splitlines() if "evaluate" in line)
    assert "accuracy 91.0 %" in row
    assert "2026-03-01T10:15:00" in row


def test_run_refuses_a_stretch_backwards(call, farm):
    status, _, err = call("run", farm, "--from", "train", "--to", "clean")
    assert status == 1
    assert "'clean' comes before 'train'" in err


# Signals and pipes

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"


def start_endless(farm):
    command = [sys.executable, "-m", "besana", "sql", str(farm), ENDLESS, "--form", "csv"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def test_ctrl_c_stops_with_status_130_and_says_how_to_go_on(farm):
    process = start_endless(farm)
    assert process.stdout.readline() == b"x\r\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Stopped. Run the same command again to continue." in err
    assert b"Traceback" not in err


def test_a_closed_pipe_ends_it_without_a_word(farm):
    process = start_endless(farm)
    assert process.stdout.readline() == b"x\r\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.returncode in (0, 1)
