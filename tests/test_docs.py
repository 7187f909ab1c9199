"""The documentation says what the code says, and what it shows runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from typer.core import TyperArgument
from typer.main import get_command

import besana.catalog as tables
from besana import errors, pipeline
from besana.backup import BackupSettings
from besana.catalog.views import CURRENT_CLASS_LABELS, CURRENT_LABELS
from besana.cli import build_app
from besana.commands import COMMANDS
from besana.commands.init import settings_text
from besana.config import parse
from besana.costs.settings import CostSettings
from besana.simulation.barn import BarnSettings, write_barn
from besana.stages import STAGES
from besana.workspace import EngineSettings, Workspace

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
READMES = (ROOT / "README.md", ROOT / "README.es.md")
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
VERBS = {**STAGES, **COMMANDS}


@pytest.fixture(scope="session")
def generated():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield import_module("generated")


def module(verb: str):
    name = verb.replace("-", "_")
    return import_module(f"besana.{'stages' if verb in STAGES else 'commands'}.{name}")


def blocks(path: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of the code blocks of a page."""
    text = path.read_text()
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield language, code


def shown_commands(path: Path) -> list[list[str]]:
    """List the besana commands that a page shows, in blocks and within sentences."""
    lines = [line for _, code in blocks(path, "bash", "sh") for line in code.splitlines()]
    lines += re.findall(r"`(besana [^`]+)`", path.read_text())
    words = [shlex.split(line.partition(" # ")[0]) for line in lines if "besana" in line]
    return [command for command in words if command and command[0] == "besana"]


def options(verb: str) -> set[str]:
    command = get_command(build_app(verb)).commands[verb]
    named = (p for p in command.params if not isinstance(p, TyperArgument))
    return {flag for p in named for flag in (*p.opts, *p.secondary_opts)} | {"--help"}


# Everything is documented


def test_every_verb_has_a_section_with_its_example_and_options(generated):
    text = generated.cli()
    for verb in VERBS:
        section = text.partition(f"\n### {verb}\n")[2].partition("\n### ")[0]
        assert module(verb).EXAMPLE in section
        for flag in options(verb) - {"--help"}:
            assert f"`{flag}`" in section, f"{verb} {flag}"


def test_every_setting_is_documented_with_a_sentence(generated):
    text = generated.settings()
    for verb in STAGES:
        section = text.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
        for name, field in module(verb).Config.model_fields.items():
            assert f"`{name}`" in section
            assert (field.description or "").endswith("."), f"[{verb}] {name}"


def test_every_error_is_documented(generated):
    page = (DOCS / "reference/errors.md").read_text()
    names = [name for name, _ in generated.error_classes()]
    assert {"BesanaError", "ConfigError", "MemoryLimitError"} <= set(names)
    for name in names:
        assert f"| `{name}` |" in generated.fill(page)
        assert getattr(errors, name).__doc__
        assert name == "BesanaError" or f"\n`{name}`\n: " in page


def test_every_column_of_the_catalog_is_documented():
    page = (DOCS / "reference/catalog.md").read_text()
    for name, table in tables.METADATA.tables.items():
        start = r"## counts and properties" if name in ("counts", "properties") else f"## {name}"
        section = page.partition(f"\n{start}\n")[2].partition("\n## ")[0]
        for column in table.columns:
            assert f"`{column.name}`" in section, f"{name}.{column.name}"
    for view in (CURRENT_LABELS, CURRENT_CLASS_LABELS):
        assert f"`{view.split()[2]}`" in page


def test_every_place_of_a_workspace_is_documented():
    page = (DOCS / "reference/workspace.md").read_text()
    for place in ("frames", "shards", "datasets", "embeddings", "models", "runs", "reports"):
        assert isinstance(getattr(Workspace, place), property)
        assert f"`{place}/`" in page


def test_every_public_name_is_documented():
    page = (DOCS / "reference/workspace.md").read_text()
    for name in import_module("besana").__all__:
        assert f"`besana.{name}" in page


def test_every_stage_is_in_the_readmes_and_in_the_way(generated):
    way = generated.fill((DOCS / "explanation/way-of-the-data.md").read_text())
    picture = (DOCS / "images/way-of-the-data.svg").read_text()
    for verb, summary in STAGES.items():
        assert summary in way
        assert f">{verb}</text>" in picture
        assert all(verb in readme.read_text() for readme in READMES)


def test_every_layer_is_in_the_architecture():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (DOCS / "explanation/architecture.md").read_text()
    for layer in settings["tool"]["importlinter"]["contracts"][0]["layers"]:
        for name in layer.replace("besana.", "").split(" | "):
            assert name == "__main__" or f"`{name}`" in page


def test_every_stage_says_what_it_reads_and_writes():
    for verb, summary in VERBS.items():
        header = module(verb).__doc__ or ""
        assert header.splitlines()[0] == summary
        assert re.search(r"^Reads: \S", header, re.MULTILINE), verb
        assert re.search(r"^Writes: \S", header, re.MULTILINE), verb


def decisions() -> list[Path]:
    return sorted((DOCS / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_a_decision_has_context_decision_and_consequences(path):
    text = path.read_text()
    assert re.match(rf"# {path.stem[:4]}:? \S", text)
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences"]


def test_no_two_decisions_have_one_number():
    numbers = [path.name[:4] for path in decisions()]
    assert len(set(numbers)) == len(numbers)


# What is shown exists


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_a_page_exist_with_their_options(path):
    for command in shown_commands(path):
        words = [word for word in command[1:] if not word.startswith("-")]
        assert words or command[1:] in (["--help"], ["--version"]), command
        words = words or ["VERB"]
        assert words[0] in VERBS or words[0] == "VERB", command
        given = {word.partition("=")[0] for word in command[1:] if word.startswith("--")}
        if words[0] in VERBS:
            assert given <= options(words[0]), command


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_is_right(verb):
    words = shlex.split(module(verb).EXAMPLE)
    assert words[:2] == ["besana", verb]
    assert {word for word in words if word.startswith("--")} <= options(verb)


def test_commands_that_errors_and_pages_advise_exist():
    advised = []
    for path in sorted((ROOT / "src/besana").rglob("*.*")):
        if path.suffix in (".py", ".html", ".js", ".toml"):
            found = re.findall(r"(?:Run|then|or): besana ([a-z-]+)([^\"`\n]*)", path.read_text())
            advised += [(path.name, *command) for command in found]
    assert len(advised) > 30
    for name, verb, rest in advised:
        assert verb in VERBS, f"{name}: besana {verb}"
        flags = set(re.findall(r"--[a-z][a-z-]*(?![a-z-]*\{)", rest.partition(",")[0]))
        assert flags <= options(verb), f"{name}: besana {verb}{rest}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_in_a_page_are_valid(path, tmp_path):
    for number, (_, code) in enumerate(blocks(path, "toml")):
        workspace = Workspace.create(tmp_path / str(number), code)
        if not any(word in code for word in ("file = ", "weights = ")):
            pipeline.check_settings(workspace)


@pytest.mark.parametrize("path", PAGES[:4], ids=lambda path: path.name)
def test_links_and_pictures_of_a_page_exist(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


def test_both_readmes_show_the_same_code():
    def code(path: Path) -> list[str]:
        found = blocks(path, "bash", "python")
        return [re.sub(r" *# .*", "", text) for _, text in found]

    english, spanish = map(code, READMES)
    assert english == spanish
    assert len(english) == 4


def test_the_defaults_that_init_writes_are_valid():
    lines = settings_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("# [engine]"))
    keys = [line[2:] for line in lines[start:] if re.match(r"# (\w+ =|\[)", line)]
    given = tomllib.loads("\n".join(line for line in keys if not re.match(r"\w+ =  #", line)))
    assert {"engine", "costs", "backup", *STAGES} == set(given)
    for verb in STAGES:
        config = module(verb).Config
        assert parse(config, given[verb], where=f"[{verb}]") == config()
    assert sum(" =" in line for line in keys) == sum(
        len(model.model_fields)
        for model in (
            EngineSettings,
            CostSettings,
            BackupSettings,
            *(module(v).Config for v in STAGES),
        )
    )


# What is shown runs


def run_block(language: str, code: str, folder: Path) -> str:
    """Run a block in a folder; status 3 means that some images are in quarantine."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if language == "python":
        commands = [[sys.executable, "-c", code]]
    else:
        lines = code.replace("\\\n", " ").splitlines()
        commands = [["bash", "-c", line] for line in lines if line.partition("#")[0].strip()]
    output = ""
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        output += done.stdout
    return output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_runs(tmp_path):
    page = DOCS / "tutorial/first-farm.md"
    shown = "".join(run_block(*block, tmp_path) for block in blocks(page, "bash", "python"))
    assert re.search(r"accuracy \d+\.\d % \(\d+\.\d % to \d+\.\d %\) on the test split", shown)
    assert "classifier/1 is champion" in shown
    assert (tmp_path / "farm/reports/answers.html").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_readme_runs(tmp_path):
    farm = write_barn(tmp_path / "made", BarnSettings(days=5, interval_s=1800, width_px=640))
    shutil.copytree(farm.path / "recorded", tmp_path / "card")
    shutil.copy(farm.truth_csv, tmp_path / "labels.csv")
    cameras = (farm.path / "besana.toml").read_text().partition("[cameras")
    _, (_, by_hand), (_, python), _ = blocks(READMES[0], "bash", "python")
    init, *others = by_hand.replace("/media/card/DCIM", "card").splitlines()
    run_block("bash", init, tmp_path)
    with (tmp_path / "farm/besana.toml").open("a") as settings:
        settings.write('[train]\nstrategy = "scratch"\nepochs = 2\nsize_px = 32\n')
        settings.write('[split]\nmethod = "last_days"\n')
        settings.write(cameras[1] + cameras[2])
    run_block("bash", "\n".join(others), tmp_path)
    assert run_block("python", python, tmp_path).strip().endswith(".html")


# What must not be in any file

# Written in two parts, so that this file does not contain them.
FOREIGN = [
    "py" + "pi.org",
    "python" + "hosted",
    "npm" + "js.org",
    "/wo" + "rk/",
    "site-" + "packages",
]


def test_no_file_names_a_package_host_or_a_path_of_a_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in (".png", ".jpg", ".ico", ".woff2") or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        assert not [word for word in FOREIGN if word in text], name
