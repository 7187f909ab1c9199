"""The package from outside: its names, and what is loaded when."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import besana

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/besana"
HEAVY = {
    *("torch", "timm", "mlflow", "sklearn", "scipy", "matplotlib", "pandas", "pyarrow", "cv2"),
    *("sqlalchemy", "psycopg", "obstore", "numpy", "imagecodecs", "PIL", "tensorflow"),
}
# What the core installation does not have.
EXTRAS = {"torch", "timm", "mlflow", "sklearn", "scipy", "matplotlib", "safetensors", "pandas"}


def loaded_after(program: str) -> set[str]:
    """Name the top-level modules that a fresh interpreter has loaded after a program."""
    show = "\nimport sys; print('\\n'.join(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", program + show], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split("\n"))


def test_all_names_are_there_and_no_other():
    for name in besana.__all__:
        assert getattr(besana, name) is not None
    assert set(besana._NAMES) | {"__version__"} == set(besana.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Farm'"):
        besana.Farm  # noqa: B018  # what is tested


def test_importing_besana_loads_nothing_heavy():
    assert not loaded_after("import besana") & HEAVY


def test_help_loads_nothing_heavy():
    program = (
        "import contextlib, io\nfrom besana.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])"
    )
    assert not loaded_after(program) & HEAVY


@pytest.mark.parametrize("verb", [*besana.STAGES, "status", "sql", "run", "init"])
def test_a_verb_is_loaded_without_the_training_libraries(verb):
    folder = "stages" if verb in besana.STAGES else "commands"
    assert not loaded_after(f"import besana.{folder}.{verb}") & EXTRAS


def test_every_module_opens_with_a_sentence():
    for path in SOURCE.rglob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert text.splitlines()[0].endswith("."), path


def test_modules_stay_small():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) >= 400
    }
    assert long == {}


MAIN = "besana.__main__"


def test_every_module_can_be_imported():
    names = [found.name for found in pkgutil.walk_packages(besana.__path__, "besana.")]
    imported = {importlib.import_module(name).__name__ for name in names if name != MAIN}
    assert imported == set(names) - {MAIN}


def test_there_is_no_pickle_and_no_eval():
    refused = ("import pickle", "torch.load(", "eval(", "exec(", "shell=True", "yaml.load(")
    for path in SOURCE.rglob("*.py"):
        words = path.read_text().replace(".eval()", "").replace("literal_eval(", "")
        assert not [word for word in refused if word in words], path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_core_alone_collects_cleans_and_prepares(tmp_path):
    venv = tmp_path / "venv"
    python = venv / "bin/python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "-c", ROOT / "constraints.txt", ROOT], check=True)
    listed = subprocess.run(
        [uv, "pip", "list", "--python", python], capture_output=True, text=True, check=True
    )
    names = {line.split()[0] for line in listed.stdout.splitlines()[2:]}
    assert "besana" in names
    assert not names & {"torch", "timm", "mlflow", "scikit-learn", "scipy", "matplotlib", "pandas"}
    besana_command = venv / "bin/besana"
    farm = tmp_path / "farm"
    simulate = [
        "simulate",
        "barn",
        "--days",
        "1",
        "--interval-s",
        "3600",
        "--width-px",
        "320",
        "--no-faults",
    ]
    subprocess.run([besana_command, *simulate, farm], check=True)
    for stage in ("collect", "clean", "prepare"):
        done = subprocess.run([besana_command, stage, farm], check=False)
        assert done.returncode in (0, 3), stage
    count = [besana_command, "sql", farm, "SELECT count(*) FROM samples", "--form", "csv"]
    rows = subprocess.run(count, capture_output=True, text=True, check=True).stdout.split()
    assert int(rows[1]) > 50
    train = subprocess.run(
        [besana_command, "train", farm], capture_output=True, text=True, check=False
    )
    assert train.returncode == 1
    assert "Traceback" not in train.stderr
