"""What the pages about the loader show runs, and is drawn from the loader."""

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from shard_farm import Farm, png, smooth_picture

DOCS = Path(__file__).parent.parent.parent / "docs"


def code(heading: str) -> str:
    page = (DOCS / "how-to/loader.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (found,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return found


def run(text: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    Farm(folder / "shards", count=48, picture=lambda n: smooth_picture(n * 5)).write()
    return folder


@pytest.mark.slow
def test_plain_pytorch_runs(folder: Path) -> None:
    pytest.importorskip("torch")
    (folder / "place.pt").unlink(missing_ok=True)

    assert run(code("PyTorch"), folder).strip() in ("consumer", "decoding", "reading")
    assert (folder / "place.pt").exists()


@pytest.mark.slow
def test_keras_runs(folder: Path) -> None:
    pytest.importorskip("keras")
    run(code("Keras"), folder)


def test_packing_class_folders_runs(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / f"pictures/{'cow' if number % 2 else 'empty'}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(smooth_picture(number)))

    assert "'train'" in run(code("From class folders"), tmp_path)
    assert (tmp_path / "pictures-shards/manifest.parquet").exists()


def test_an_index_of_other_files_runs(tmp_path: Path) -> None:
    Farm(tmp_path / "shards", count=5, shards=1).write()
    (tmp_path / "shards/manifest.parquet").unlink()

    assert run(code("From TFRecord files that you have"), tmp_path).strip() == "5"


def test_the_pictures_are_drawn_from_the_loader() -> None:
    spec = util.spec_from_file_location("loader_pictures", DOCS / "loader_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    pictures = util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    for name, draw in pictures.PICTURES.items():
        assert (DOCS / "images" / name).read_text() == draw(), "run docs/loader_pictures.py"
        assert name in (DOCS / "explanation/loader.md").read_text()


def test_every_option_and_figure_of_the_loader_is_on_a_page() -> None:
    import inspect

    from besana.shards import BatchAugment, Loader

    pages = "".join((DOCS / p).read_text() for p in ("how-to/loader.md", "explanation/loader.md"))
    for name in list(inspect.signature(Loader).parameters)[1:]:
        assert f"{name}=" in pages or f"`{name}`" in pages, name
    for name in BatchAugment.__dataclass_fields__:
        assert f"`{name}`" in pages or f"{name}=" in pages, name
