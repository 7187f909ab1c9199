"""One gate each: foreign bytes become pixels, a key a path, a file a model in one place only."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import besana

PACKAGE = Path(besana.__file__).parent

# What opens each gate, and the modules that may.
GATES: dict[str, tuple[set[str], set[str]]] = {
    # images/decode is the entry. shards/decoding reads what besana wrote, after its CRC, and
    # serving/pictures reads a JPEG smaller after images/decode has let its header pass.
    "foreign bytes become pixels": (
        {
            *(
                "cv2.imdecode",
                "cv2.imread",
                "PIL.Image.open",
                "tifffile.TiffFile",
                "tifffile.imread",
            ),
            *("simplejpeg.decode_jpeg", "imagecodecs.imread", "imagecodecs.jpeg_decode"),
            *("imagecodecs.png_decode", "imagecodecs.webp_decode", "imagecodecs.tiff_decode"),
        },
        {"images/decode.py", "shards/decoding.py", "serving/pictures.py"},
    ),
    "a graph becomes a model": (
        {"onnxruntime.InferenceSession", "torch.jit.load", "torch.export.load"},
        {"models/onnx_model.py"},
    ),
    # Registered models, weights that a user names, and besana's own checkpoints.
    "a file becomes weights": (
        {"safetensors.torch.load", "safetensors.torch.load_file", "safetensors.safe_open"},
        {"models/model.py", "models/weights.py", "learning/checkpoint.py"},
    ),
    # labels/cvat streams it and refuses a DOCTYPE; web/svg reads what besana itself drew.
    "an XML file is read": (
        {
            *("xml.parsers.expat.ParserCreate", "xml.etree.ElementTree.parse"),
            *("xml.etree.ElementTree.iterparse", "xml.etree.ElementTree.fromstring"),
            *("xml.dom.minidom.parse", "xml.sax.parse", "lxml.etree.parse"),
        },
        {"labels/cvat.py", "web/svg.py"},
    ),
    "a file becomes any object": (
        {"pickle", "torch.load", "joblib", "dill", "cloudpickle", "marshal", "shelve"},
        set(),
    ),
    # Folders of others are entered in images/files, file by file without following a link;
    # storage opens what a key or a row names. The others open files that besana itself made.
    "a path becomes a file of somebody else": (
        {"os.open"},
        {
            *("images/files.py", "storage.py"),
            *("shards/reading.py", "shards/cache.py", "commands/serve.py"),
            *("web/people.py", "web/certificate.py"),
        },
    ),
}


@cache
def called() -> dict[str, set[str]]:
    """What each module of the package calls."""
    return {
        path.relative_to(PACKAGE).as_posix(): calls(ast.parse(path.read_text()))
        for path in PACKAGE.rglob("*.py")
    }


def calls(tree: ast.Module) -> set[str]:
    """Full names of what a module calls or imports by name, aliases undone."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                names[item.asname or item.name.partition(".")[0]] = (
                    item.name if item.asname else item.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    found = set(names.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            value = node.value
            while isinstance(value, ast.Attribute):
                parts.append(value.attr)
                value = value.value
            if isinstance(value, ast.Name) and value.id in names:
                found.add(".".join([names[value.id], *reversed(parts)]))
    return found


def users(openers: set[str]) -> set[str]:
    return {name for name, names in called().items() if names & openers}


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_is_opened_nowhere_else(gate: str) -> None:
    openers, allowed = GATES[gate]
    assert users(openers) == allowed


def test_an_opener_is_seen_whatever_it_is_called() -> None:
    sources = (
        "import cv2 as eye\neye.imdecode(b'')",
        "from cv2 import imdecode as look\nlook(b'')",
        "def f():\n    import cv2\n    return cv2.imdecode",
    )
    for source in sources:
        assert "cv2.imdecode" in calls(ast.parse(source))
