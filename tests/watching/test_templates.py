"""Templates for other schedulers: they parse, and every command in them is one of besana's."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.core import TyperArgument
from typer.main import get_command

from besana.cli import build_app
from besana.commands import COMMANDS
from besana.stages import STAGES

FOLDER = Path(__file__).parents[2] / "docs" / "how-to" / "templates"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
WANTED = {"predict", "monitor", "retrain"}


def commands(path: Path) -> list[list[str]]:
    """List the besana commands in a file, without the shell around them."""
    text = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
    found = re.findall(r"besana [^\n|]+", text)
    return [shlex.split(line.replace("'", "").replace(",", "")) for line in found]


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.suffix != ".timer"], ids=lambda path: path.name
)
def test_every_command_exists_with_its_options(path):
    seen = set()
    for words in commands(path):
        verb = words[1]
        if verb == "--version" or verb not in {**STAGES, **COMMANDS}:
            assert verb in ("--version", "import"), words
            continue
        seen.add(verb)
        command = get_command(build_app(verb)).commands[verb]
        options = {
            flag
            for parameter in command.params
            if not isinstance(parameter, TyperArgument)
            for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in words if word.startswith("--")} <= options
    assert seen >= WANTED


def test_github_actions_ask_before_they_deploy():
    found = yaml.safe_load((FOLDER / "github-actions.yml").read_text())
    jobs = found["jobs"]
    assert list(jobs) == ["build", "data", "train", "deploy"]
    assert [jobs[name].get("needs") for name in jobs] == [None, "build", "data", "train"]
    assert jobs["deploy"]["environment"] == "production"
    assert found[True]["schedule"][0]["cron"]


def test_azure_pipelines_ask_before_they_deploy():
    found = yaml.safe_load((FOLDER / "azure-pipelines.yml").read_text())
    stages = found["stages"]
    assert [stage["stage"] for stage in stages] == ["build", "data", "train", "deploy"]
    assert [stage.get("dependsOn") for stage in stages] == [None, "build", "data", "train"]
    [deploy] = stages[-1]["jobs"]
    assert deploy["environment"] == "production"


def test_the_airflow_dag_walks_in_order():
    module = ast.parse((FOLDER / "airflow_dag.py").read_text())
    [table] = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "COMMANDS"
    ]
    assert list(ast.literal_eval(table)) == ["collect", "predict", "monitor", "retrain"]
    imported = {node.module for node in module.body if isinstance(node, ast.ImportFrom)}
    assert "airflow" in imported


def test_the_systemd_units_belong_together():
    units = {}
    for name in ("besana-watch.service", "besana-watch.timer"):
        # A unit may say ExecStart several times.
        units[name] = configparser.ConfigParser(strict=False, interpolation=None)
        units[name].optionxform = str
        units[name].read_string((FOLDER / name).read_text())
    assert units["besana-watch.service"]["Service"]["Type"] == "oneshot"
    assert units["besana-watch.service"]["Service"]["SuccessExitStatus"] == "3 4"
    assert units["besana-watch.timer"]["Timer"]["OnCalendar"]
