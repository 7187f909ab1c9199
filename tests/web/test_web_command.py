"""`besana web`: who is let in, by which address, with which certificate."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from served_farm import PASSWORD, make_farm

from besana.commands.web import Config, run
from besana.errors import ConfigError
from besana.web.people import FILE, People
from besana.web.qr import qr_modules, qr_text


def join(path: Path) -> None:
    people = People(path / FILE)
    people.join(people.invite("test", "admin"), "Ana", PASSWORD)
    people.close()


def refused(path: Path, **settings: object) -> str:
    workspace = make_farm(path / "farm", frames=1)
    with pytest.raises(ConfigError) as found:
        run(workspace, Config(port=0, **settings), until=lambda: True)  # type: ignore[arg-type]
    return str(found.value)


def test_other_machines_are_let_in_on_purpose_only(tmp_path: Path) -> None:
    assert "--lan" in refused(tmp_path / "a", host="0.0.0.0")
    assert "Nobody has a password" in refused(tmp_path / "b", lan=True)
    assert "needs its key" in refused(tmp_path / "c", certificate=Path("x.pem"))


@pytest.mark.parametrize("verb", ["web", "serve"])
def test_what_a_server_lacks_is_named_before_it_starts(tmp_path: Path, verb: str) -> None:
    make_farm(tmp_path / "farm", frames=1)
    code = "import sys; sys.modules['httptools'] = None; from besana.cli import main; main()"
    words = [sys.executable, "-c", code, verb, str(tmp_path / "farm"), "--port", "0"]
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert "The server needs httptools." in done.stderr
    assert 'pip install "besana[' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pages_need_no_library_of_training() -> None:
    heavy = "{'torch', 'timm', 'sklearn', 'scipy', 'mlflow', 'onnxruntime', 'matplotlib'}"
    code = f"import sys, besana.web.site, besana.commands.web; print({heavy} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "set()"


def test_taken_port_is_said(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        workspace = make_farm(tmp_path / "farm", frames=1)
        with pytest.raises(ConfigError, match="Choose another port"):
            run(workspace, Config(port=taken.getsockname()[1]), until=lambda: True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_lan_has_a_certificate_of_its_own(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=1)
    join(workspace.path)
    command = [sys.executable, "-m", "besana", "web", str(workspace.path), "--port", "0"]
    command += ["--lan", "--name", "barn.local"]
    log = tmp_path / "said.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, env={**__import__("os").environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        until = time.monotonic() + 60
        while "SHA-256" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.1)
        port = re.search(r"https://\S+:(\d+)", log.read_text())
        assert port
        trusting = ssl.create_default_context(cafile=str(workspace.path / "web.pem"))
        with urllib.request.urlopen(
            f"https://localhost:{port[1]}/sign-in", context=trusting
        ) as page:
            assert page.status == 200
        assert re.search(
            r"SHA-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}", log.read_text().replace("\n", "")
        )
        assert (workspace.path / "web.key").stat().st_mode & 0o777 == 0o600
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("length", [10, 17, 30, 50, 70, 100])
def test_qr_code_is_read_back(length: int) -> None:
    text = ("https://192.168.1.20:8300/" + "x" * 100)[:length]
    version = next(v for v, most in {1: 17, 2: 32, 3: 53, 4: 78, 5: 106}.items() if length <= most)
    modules = np.pad(qr_modules(text.encode(), version), 4)
    picture = np.where(modules, 0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    found, _, _ = cv2.QRCodeDetector().detectAndDecode(picture)
    assert found == text


def test_qr_code_of_a_long_text_is_left_out() -> None:
    assert qr_text("x" * 107) == ""
    assert len(set(map(len, qr_text("http://barn.local:8300").split("\n")))) == 1
